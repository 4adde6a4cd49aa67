//! Copies of builds between the racks of a server, and the tickets that allow them.
//!
//! A password of one rack must not open another, and nobody should have to show both to
//! one of them. So who may read a build gets a ticket for it from its rack, and shows
//! that to the rack that is to have the build, which asks for its own password as ever.
//! A ticket names one build, is signed with a key that only this process knows, and is
//! good for a minute: whoever finds it later has found nothing.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use rack_api::build::{Build, Ticket};
use ring::hmac;
use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};

use super::Rack;
use super::console::Console;
use crate::operations::{Failure, Result, copy};

/// How long a ticket is good.
const LIFE: SignedDuration = SignedDuration::from_secs(60);

/// Makes tickets and knows them again.
pub(super) struct Tickets {
    key: hmac::Key,
}

/// What a ticket is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Leave {
    rack: String,
    /// Another rack may have the name by now.
    rack_id: String,
    app: String,
    build: String,
    expires: Timestamp,
}

impl Tickets {
    /// With a key of its own, which is never written down.
    pub(super) fn new() -> Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Failure::internal("the system has no random numbers"))?;
        Ok(Self { key })
    }

    fn issue(&self, leave: &Leave) -> Ticket {
        let text = BASE64.encode(serde_json::to_vec(leave).expect("plain data serialises"));
        let signature = BASE64.encode(hmac::sign(&self.key, text.as_bytes()));
        Ticket {
            ticket: format!("{text}.{signature}"),
            ..Ticket::default()
        }
    }

    /// What a ticket allows. One that this process has not made is for another server.
    fn open(&self, ticket: &str, now: Timestamp) -> Result<Leave> {
        let foreign = || {
            Failure::Elsewhere(
                "cannot copy: the ticket is not of this server, or of before it was started".into(),
            )
        };
        let (text, signature) = ticket.split_once('.').ok_or_else(foreign)?;
        let signature = BASE64.decode(signature).map_err(|_| foreign())?;
        hmac::verify(&self.key, text.as_bytes(), &signature).map_err(|_| foreign())?;
        let leave = BASE64.decode(text).map_err(|_| foreign())?;
        let leave: Leave = serde_json::from_slice(&leave).map_err(|_| foreign())?;
        if leave.expires < now {
            return Err(Failure::Forbidden(
                "cannot copy: the ticket has run out, ask for another".into(),
            ));
        }
        Ok(leave)
    }
}

impl Console {
    /// Gives leave to copy a build of a rack to other racks of this server.
    pub async fn ticket(&self, rack: &Rack, app: &str, build: &str) -> Result<Ticket> {
        let build = rack.build_row(app, build).await?;
        let layers = rack.build_layers(&build.id).await?;
        let ticket = self.tickets().issue(&Leave {
            rack: rack.name().to_owned(),
            rack_id: rack.context.rack_id.clone(),
            app: build.app,
            build: build.id,
            expires: rack.context.now() + LIFE,
        });
        Ok(Ticket { layers, ..ticket })
    }

    /// Copies the build that a ticket is for into an app of a rack; the build has its
    /// release when this returns. `foreign` allows a build of another app.
    pub async fn copy_build(
        &self,
        rack: &Rack,
        app: &str,
        ticket: &str,
        foreign: bool,
    ) -> Result<Build> {
        rack.context.ready().await?;
        rack.not_deleting(app).await?;
        let leave = self.tickets().open(ticket, rack.context.now())?;
        let source = self
            .rack(&leave.rack)
            .filter(|source| source.context.rack_id == leave.rack_id)
            .ok_or_else(|| {
                Failure::NotFound(format!("cannot copy: rack {} is gone", leave.rack))
            })?;
        if source.context.machine != rack.context.machine {
            return Err(Failure::Elsewhere(format!(
                "cannot copy: rack {} is on another engine; export the build and import it",
                leave.rack
            )));
        }
        let build = source.build_row(&leave.app, &leave.build).await?;
        let row = copy::copy(&rack.context, app, &source.context, &build, foreign).await?;
        rack.show_build(row).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn leave() -> Leave {
        Leave {
            rack: "staging".into(),
            rack_id: "00".into(),
            app: "myapp".into(),
            build: "BAAAAAAAAAA".into(),
            expires: at(1000),
        }
    }

    #[test]
    fn a_ticket_is_good_until_its_time_and_for_what_it_says() {
        let tickets = Tickets::new().expect("a key");
        let ticket = tickets.issue(&leave()).ticket;
        assert_eq!(tickets.open(&ticket, at(1000)).expect("good"), leave());
        assert!(matches!(
            tickets.open(&ticket, at(1001)),
            Err(Failure::Forbidden(_))
        ));
        let debug = format!("{:?}", tickets.issue(&leave()));
        assert_eq!(debug, "Ticket", "it is a secret");
    }

    #[test]
    fn whatever_else_is_no_ticket() {
        let (tickets, others) = (
            Tickets::new().expect("a key"),
            Tickets::new().expect("a key"),
        );
        let ticket = tickets.issue(&leave()).ticket;
        let (text, signature) = ticket.split_once('.').expect("two parts");
        let other = Leave {
            rack: "production".into(),
            ..leave()
        };
        let other = BASE64.encode(serde_json::to_vec(&other).expect("serialises"));
        for bad in [
            others.issue(&leave()).ticket,
            format!("{other}.{signature}"),
            format!("{text}.{}", &signature[1..]),
            format!("{text}."),
            text.to_owned(),
            String::new(),
            ".".into(),
            "\u{0}.\u{0}".into(),
        ] {
            assert!(
                matches!(tickets.open(&bad, at(0)), Err(Failure::Elsewhere(_))),
                "{bad}"
            );
        }
    }
}
