//! A gateway's local spool of records: hash-chained, grouped, durable before a reply.
