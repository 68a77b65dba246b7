// Package python holds the library for plugins in Python: the handshake, the life cycle of a plugin, and the generated messages of
// plugins/proto. `lmqgate plugin init --lang python` copies it into an author's project.
package python

import "embed"

// Library is the Python package lmqgate.
//
//go:embed lmqgate/*.py lmqgate/plugin/*.py lmqgate/plugin/v1/*.py lmqgate/plugin/v1/*.pyi
var Library embed.FS
