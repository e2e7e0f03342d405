"""HTTP without any API: keys, sizes, errors in an API's own shape, server-sent events."""
