// Package authors tests what the authors of plugins are given: the projects of `lmqgate plugin init`, the tutorial of
// docs/plugins.md, which is run as it is written, the library for Python, and the examples, with their own tests. It needs
// Go, make, git, and Python 3.10 with venv; pip and Go fetch the rest.
//
// It needs no RocketMQ, and is run once, by make test-authors.
package authors
