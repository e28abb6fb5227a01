//! Time passes: what comes due is fired when its time comes, as the leader's loop does.

use super::{Args, Script, duration};
use steadfast_engine::mutation::Mutation;
use steadfast_engine::tables::Record;
use steadfast_engine::time::Span;
use steadfast_engine::{Timestamp, resume};

/// Due items that one `advance` fires at most.
const FIRED_MAX: usize = 1_000;

/// `advance 5s`
pub(super) fn advance(script: &mut Script, args: &Args) {
    let span = Span::from_proto(Some(&duration(&args.name_or("1s"))));
    let until = script.world.now.after(span);
    for _ in 0..FIRED_MAX {
        let Some(at) = resume::earliest_due(&script.world.memory).unwrap() else {
            break;
        };
        if at > until {
            break;
        }
        // Applying takes a millisecond of the script's time.
        let tick = Span::millis(1).0;
        script.world.now = script.world.now.max(Timestamp(at.0 - tick));
        let key = resume::due(&script.world.memory, at, 1).unwrap().remove(0);
        let due = script.world.memory.0[&key].clone();
        let Record::Due(due) = &*due else {
            panic!("{due:?}")
        };
        let kind = format!("{:?}", due.kind);
        let kind = kind.split([' ', '{']).next().unwrap_or_default().to_owned();
        let clock = script.clock(at);
        script.say(format!("{clock} {kind} of {}", due.run.workflow_id));
        script.apply(Mutation::FireDue(key));
    }
    script.world.now = script.world.now.max(until);
}
