package main

import (
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keys names what is in etcd: prefix/namespace/key. The key is as it is, so that etcd's order is the order of keys and etcdctl
// shows them; a "/" in the namespace is written %2F and a "%" is written %25, so the namespace ends at its first "/" and no two
// (namespace, key) have one name.
type keys struct{ prefix string }

var escapeNamespace = strings.NewReplacer("%", "%25", "/", "%2F")

// newKeys takes the prefix of the configuration, with or without a "/" at its end.
func newKeys(prefix string) keys { return keys{strings.TrimRight(prefix, "/") + "/"} }

// namespace is what the names of a namespace's keys begin with.
func (k keys) namespace(ns string) string { return k.prefix + escapeNamespace.Replace(ns) + "/" }

// name is the name of a key.
func (k keys) name(ns, key string) string { return k.namespace(ns) + key }

// ends is the first name after all those that begin with a name.
func ends(name string) string { return clientv3.GetPrefixRangeEnd(name) }
