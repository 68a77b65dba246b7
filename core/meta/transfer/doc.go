// Package transfer copies metadata between backends, and to and from files.
//
// What is copied is what the contract of meta plugins shows: (namespace, key) -> bytes. How a backend stores them (revisions in
// values, encoded keys) is its plugin's business and stays behind. Both sides of every comparison are streamed in key order, so
// memory does not grow with their size.
//
// The package knows nothing of what values mean, but for what Options.Lifetime says of it.
package transfer
