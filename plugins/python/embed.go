// Package python holds the library that plugins in Python are made with: the handshake, the life of a plugin, and the
// messages of plugins/proto, generated. `lmqgate plugin init --lang python` copies it into an author's project.
package python

import "embed"

// Library is the Python package lmqgate.
//
//go:embed lmqgate/*.py lmqgate/plugin/*.py lmqgate/plugin/v1/*.py lmqgate/plugin/v1/*.pyi
var Library embed.FS
