-- Users for trying the plugin. Passwords: each user's name and "-password".
INSERT INTO users (name, password, disabled) VALUES
    ('demo', 'scrypt$16384$8$1$WPUQt4OmAdf+hc/xzA3atg==$OYgIski99K2q2yVtAlnPzxFMmaVBME4zOxwnzS9OPrbkKU6KD6q/o1aBSszoVtMJMqy2la0hACmasLlsLHeiHg==', 0),
    ('operator', 'scrypt$16384$8$1$K7YfCNcYdW2+9zbRjYywhA==$iWw8CSIWEOc4ue9jUdYQBBZhIVD1YollcMvJ7UhjOBJJUy+LnhyNi1998kfOxuSJZLWslUE6V4Xc8BUrpTZl9A==', 0),
    ('retired', 'scrypt$16384$8$1$nNkGeH26+zQM3Fr2a54Dug==$AQWXC0IoJMGd5leF6SFB/qutKMgIal8MQ/G84DhLx16aB18qxchHtWl1PSioMA5oVFUeNZsOua0o6h6w1UDmyA==', 1);
INSERT INTO rules (user, effect, action, topic) VALUES
    ('demo', 'allow', 'publish', 'state/%c/#'),
    ('demo', 'allow', 'subscribe', 'cmd/%c/#'),
    ('demo', 'allow', 'all', 'shared/#'),
    ('operator', 'deny', 'all', 'state/secret'),
    ('operator', 'allow', 'all', '#'),
    ('retired', 'allow', 'all', '#');
