//! Build archives: the artifact that carries a verified build between racks.
//!
//! Reads every layout real racks wrote, writes the ones they read, and proves
//! that what was exported is what is imported. Synchronous, streaming, constant
//! memory; knows nothing of Docker, HTTP or clocks. An archive is hostile input:
//! never unpacked to paths it names, sizes counted and not believed.
