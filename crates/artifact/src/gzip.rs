//! Writes one gzip member, compressed on all processors.
//!
//! The input is cut into blocks of a fixed size, each compressed by itself and ended
//! at a whole byte, so that they can be put one behind the other. The bytes depend on
//! the input and the level alone: not on how many threads there are, how fast they
//! are, or in what pieces the input came.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Input compressed at once. Every block forgets what came before, which at this size
/// costs next to nothing.
const BLOCK: usize = 512 << 10;
/// Most threads; more would need more memory than the disk has speed.
const MOST_THREADS: usize = 8;
/// "Unknown" in the operating system field of the header, as other racks write it.
const UNKNOWN_SYSTEM: u8 = 255;
/// The last block of a deflate stream, holding nothing.
const LAST: [u8; 2] = [3, 0];
/// What a compressor may need beside the bytes themselves.
const HEADROOM: usize = 64 << 10;
/// The most that a stored block of deflate holds.
const LONGEST_STORED: usize = 0xffff;

/// Compresses what is written to it. Nothing after an error, and nothing without
/// [`finish`](GzipWriter::finish), is whole.
pub(crate) struct GzipWriter<W> {
    out: W,
    level: u32,
    crc: Crc,
    /// Input of the block under way.
    block: Vec<u8>,
    /// Where blocks are compressed: here if there is only one processor.
    threads: Option<Threads>,
    here: Packer,
}

impl<W: Write> GzipWriter<W> {
    /// Compresses with as many threads as there are processors.
    pub(crate) fn new(out: W, level: u32) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(out, level, processors.min(MOST_THREADS))
    }

    fn with_threads(mut out: W, level: u32, threads: usize) -> io::Result<Self> {
        let level = level.min(9);
        let extra = match level {
            0 | 1 => 4,
            9 => 2,
            _ => 0,
        };
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra, UNKNOWN_SYSTEM])?;
        Ok(Self {
            out,
            level,
            crc: Crc::new(),
            block: Vec::new(),
            threads: (threads > 1).then(|| Threads::new(threads)),
            here: Packer::new(level),
        })
    }

    /// Hands the block under way to a thread, or compresses it here.
    fn pass_on(&mut self) -> io::Result<()> {
        let Some(threads) = &mut self.threads else {
            let packed = self.here.pack(&self.block);
            self.block.clear();
            return packed.write(&mut self.crc, &mut self.out);
        };
        if threads.busy()
            && let Some(packed) = threads.next()
        {
            packed.write(&mut self.crc, &mut self.out)?;
            threads.spare.push(packed.input);
        }
        let empty = threads.spare.pop().unwrap_or_default();
        let input = std::mem::replace(&mut self.block, empty);
        if let Err(input) = threads.start(input, self.level) {
            // No thread can be had: what has begun is finished, the rest is done here.
            self.drain()?;
            self.threads = None;
            self.block = input;
            return self.pass_on();
        }
        Ok(())
    }

    /// Writes all blocks that are being compressed.
    fn drain(&mut self) -> io::Result<()> {
        while let Some(packed) = self.threads.as_mut().and_then(Threads::next) {
            packed.write(&mut self.crc, &mut self.out)?;
        }
        Ok(())
    }

    /// Writes the end, and gives the destination back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.pass_on()?;
        }
        self.drain()?;
        self.out.write_all(&LAST)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.capacity() < BLOCK {
            self.block.reserve_exact(BLOCK - self.block.len());
        }
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.pass_on()?;
        }
        Ok(count)
    }

    /// Blocks have a fixed size: nothing can be forced out before the end.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A block in both forms.
struct Packed {
    input: Vec<u8>,
    output: Vec<u8>,
    crc: Crc,
}

impl Packed {
    fn write(&self, crc: &mut Crc, out: &mut impl Write) -> io::Result<()> {
        crc.combine(&self.crc);
        out.write_all(&self.output)
    }
}

/// Compresses blocks, one after the other.
struct Packer {
    level: u32,
    compress: Option<Compress>,
}

impl Packer {
    fn new(level: u32) -> Self {
        Self {
            level,
            compress: None,
        }
    }

    fn pack(&mut self, input: &[u8]) -> Packed {
        let mut crc = Crc::new();
        crc.update(input);
        // Room for the worst that becomes of any input, nine bits for each byte: a
        // compressor that had to stop for want of room would not be fit for reuse.
        let mut output = Vec::with_capacity(input.len() + input.len() / 8 + HEADROOM);
        let mut compress = match self.compress.take() {
            Some(mut compress) => {
                compress.reset();
                compress
            }
            None => Compress::new(Compression::new(self.level), false),
        };
        compress
            .compress_vec(input, &mut output, FlushCompress::Sync)
            .expect("raw deflate takes any bytes");
        let whole = compress.total_in() == input.len() as u64 && output.len() < output.capacity();
        if whole {
            self.compress = Some(compress);
        }
        if !whole || output.len() >= stored_size(input.len()) {
            output.clear();
            store(input, &mut output);
        }
        Packed {
            input: Vec::new(),
            output,
            crc,
        }
    }
}

fn stored_size(input: usize) -> usize {
    input + 5 * input.div_ceil(LONGEST_STORED)
}

/// Bytes that do not compress are stored: smaller, and read at the speed of memory.
fn store(input: &[u8], output: &mut Vec<u8>) {
    for piece in input.chunks(LONGEST_STORED) {
        let length = piece.len() as u16;
        output.push(0);
        output.extend(length.to_le_bytes());
        output.extend((!length).to_le_bytes());
        output.extend(piece);
    }
}

/// A block to compress, and where the result goes.
struct Job {
    input: Vec<u8>,
    level: u32,
    done: SyncSender<Packed>,
}

/// Threads that compress blocks, and the blocks they have, in order.
struct Threads {
    most: usize,
    running: usize,
    jobs: Sender<Job>,
    waiting: Arc<Mutex<Receiver<Job>>>,
    pending: VecDeque<Receiver<Packed>>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
}

impl Threads {
    fn new(most: usize) -> Self {
        let (jobs, waiting) = channel();
        Self {
            most,
            running: 0,
            jobs,
            waiting: Arc::new(Mutex::new(waiting)),
            pending: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Whether there are as many blocks under way as memory is meant for.
    fn busy(&self) -> bool {
        self.pending.len() >= 2 * self.most
    }

    /// Takes a block on, or gives it back when there is no thread at all.
    fn start(&mut self, input: Vec<u8>, level: u32) -> Result<(), Vec<u8>> {
        // Small archives need few threads or none but one.
        if self.running < self.most && self.pending.len() >= self.running {
            let waiting = Arc::clone(&self.waiting);
            let started = thread::Builder::new()
                .name("gzip".into())
                .spawn(move || work(&waiting));
            match started {
                Ok(_) => self.running += 1,
                Err(_) if self.running == 0 => return Err(input),
                Err(_) => self.most = self.running,
            }
        }
        let (done, packed) = sync_channel(1);
        let job = Job { input, level, done };
        self.jobs.send(job).expect("we keep the receiver");
        self.pending.push_back(packed);
        Ok(())
    }

    /// Waits for the oldest block.
    fn next(&mut self) -> Option<Packed> {
        let packed = self.pending.pop_front()?;
        Some(packed.recv().expect("a thread ends only without work"))
    }
}

/// Compresses until there can be no more work.
fn work(waiting: &Mutex<Receiver<Job>>) {
    let mut packer: Option<Packer> = None;
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(Job { input, level, done }) = job else {
            return;
        };
        let mut packed = packer
            .get_or_insert_with(|| Packer::new(level))
            .pack(&input);
        packed.input = input;
        packed.input.clear();
        if done.send(packed).is_err() {
            // Whoever wanted it has given up.
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::bufread::GzDecoder;

    use super::*;

    /// Compressible and incompressible by turns, in pieces no block size divides.
    fn input(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if (bytes.len() / 700_001).is_multiple_of(2) {
                bytes.extend(state.to_le_bytes());
            } else {
                bytes.extend(format!("line {} ", state % 1000).bytes());
            }
        }
        bytes.truncate(length);
        bytes
    }

    fn gzip(input: &[u8], level: u32, threads: usize, step: usize) -> Vec<u8> {
        let mut writer = GzipWriter::with_threads(Vec::new(), level, threads).expect("memory");
        for piece in input.chunks(step) {
            writer.write_all(piece).expect("memory");
        }
        writer.finish().expect("memory")
    }

    #[test]
    fn the_bytes_depend_on_the_input_alone() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 77] {
            let input = input(length);
            for level in [1, 2] {
                let expected = gzip(&input, level, 1, length.max(1));
                for threads in [1, 3, 8] {
                    for step in [1 << 20, 9973] {
                        let bytes = gzip(&input, level, threads, step);
                        assert!(bytes == expected, "{length} {level} {threads} {step}");
                    }
                }
                let mut decoder = GzDecoder::new(&expected[..]);
                let mut output = Vec::new();
                decoder.read_to_end(&mut output).expect("one whole member");
                assert!(output == input, "{length} at level {level}");
                assert!(decoder.into_inner().is_empty(), "nothing behind it");
            }
        }
    }

    #[test]
    fn what_does_not_compress_hardly_grows() {
        let mut random = input(600_000);
        random.truncate(600_000);
        let packed = gzip(&random, 1, 2, 65_536);
        assert!(packed.len() < random.len() + 200, "{}", packed.len());
    }

    #[test]
    fn a_failing_destination_ends_it() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self
                    .0
                    .checked_sub(bytes.len())
                    .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let input = input(20 * BLOCK);
        for threads in [1, 4] {
            let mut writer =
                GzipWriter::with_threads(Full(BLOCK), 1, threads).expect("there is room");
            let written = writer.write_all(&input);
            let error = written.and_then(|()| writer.finish().map(drop));
            let kind = error.expect_err("it is full").kind();
            assert_eq!(kind, io::ErrorKind::StorageFull, "{threads}");
        }
    }
}
