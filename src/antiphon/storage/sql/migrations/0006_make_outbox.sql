-- Messages that were committed with what they tell of, and the leases of the relays that publish them.

-- `message` is JSON; those of one `bucket`, a hash of the key, are published in the order of their numbers. Moments are
-- in microseconds since 1970. A number is never used twice, since dead letters are known by theirs.
create table antiphon_outbox (
    number integer primary key autoincrement,
    bucket integer not null,
    topic text not null,
    key text,
    message text not null,
    staged_at integer not null
);

-- The relays that live, by the tokens that their leases name.
create table antiphon_outbox_relays (
    token text primary key,
    heard_at integer not null
) without rowid;

-- Who publishes a bucket until when. The epoch grows with every change of owner.
create table antiphon_outbox_leases (
    bucket integer primary key,
    token text,
    epoch integer not null default 0,
    expires_at integer not null default 0
);

insert into antiphon_outbox_leases (bucket)
with recursive buckets (bucket) as (select 0 union all select bucket + 1 from buckets where bucket < 63)
select bucket from buckets;
