// Package authors tests what plugin authors get: the projects of `lmqgate plugin init`, the tutorial of docs/plugins.md (its commands
// are run as they are printed), the library for Python, and the examples with their own tests. It needs Go, make, git, and Python 3.10
// with venv. pip and Go fetch the rest.
//
// It needs no RocketMQ. `make test-authors` runs it once.
package authors
