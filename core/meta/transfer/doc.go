// Package transfer copies metadata between backends, and to and from files.
//
// It copies what the contract of meta plugins shows: (namespace, key) -> bytes. How a backend encodes keys and stores revisions is up
// to its plugin, and is not copied. Comparisons stream both sides in key order, so memory does not grow with the amount of metadata.
//
// The package does not interpret values, except for what Options.Lifetime tells it.
package transfer
