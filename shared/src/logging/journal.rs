//! Events for systemd's journal: each value in a field of its own, `HOLDFAST_APP` for `app`, and all of them in the
//! message too, since that is all that `journalctl` shows unasked.

use std::{array, fmt::Write as _, io};

use tracing::{
    Event, Subscriber,
    field::{Field, Value, Visit},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// Before the name of each field.
const PREFIX: &str = "HOLDFAST";
/// The most fields that an event can have.
const FIELDS_MAX: usize = 32;

/// The layer that writes to the journal.
pub(super) fn layer() -> io::Result<Whole<tracing_journald::Layer>> {
    Ok(Whole(tracing_journald::Layer::new()?.with_field_prefix(Some(PREFIX.to_owned()))))
}

/// Hands events on with everything that they say in their message.
pub(super) struct Whole<L>(L);

/// What an event holds: its fields as text, and the message with the others behind it.
#[derive(Default)]
struct Texts {
    message: String,
    values: String,
    fields: Vec<(Field, String)>,
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            // Writing to a String never fails.
            let _ = write!(self.values, " {}={text}", field.name());
            self.fields.push((field.clone(), text));
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>, L: Layer<S>> Layer<S> for Whole<L> {
    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut texts = Texts::default();
        event.record(&mut texts);
        let Texts { mut message, values, mut fields } = texts;
        let metadata = event.metadata();
        let Some(field) = metadata.fields().field("message") else { return self.0.on_event(event, ctx) };
        message.push_str(&values);
        fields.insert(0, (field, message));
        // An event's values come as an array of fixed length; what is not there is left out.
        let values: [_; FIELDS_MAX] = {
            let spare = &fields[0].0;
            array::from_fn(|n| match fields.get(n) {
                Some((field, text)) => (field, Some(text as &dyn Value)),
                None => (spare, None),
            })
        };
        self.0.on_event(&Event::new(metadata, &metadata.fields().value_set(&values)), ctx);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A double of the journal's layer: keeps what it is handed.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

    impl Visit for BTreeMapOf<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.insert(field.name(), format!("{value:?}"));
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name(), value.to_owned());
        }
    }

    struct BTreeMapOf<'a>(&'a mut BTreeMap<&'static str, String>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut fields = BTreeMap::new();
            event.record(&mut BTreeMapOf(&mut fields));
            self.0.lock().unwrap().push(fields);
        }
    }

    #[test]
    fn the_journal_gets_each_value_in_its_field_and_all_of_them_in_the_message() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::registry().with(Whole(kept.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(app = "shop", left = 3_u64, why = ?Some("late"), "writers are being {}", "stopped");
            tracing::info!("booted");
        });
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept[0]["message"], "writers are being stopped app=shop left=3 why=Some(\"late\")");
        assert_eq!((kept[0]["app"].as_str(), kept[0]["left"].as_str()), ("shop", "3"));
        assert_eq!(kept[1]["message"], "booted");
        assert_eq!(kept[1].len(), 1);
    }
}
