package meta

import "encoding/json"

// Owner is the owner of a session: the identity that its client was admitted as, and the plugin that admitted it. Sessions of anonymous
// clients, and records written before owners were recorded, have the zero Owner. Such a session goes to the next client that wants it.
type Owner struct {
	// Name is the stable name of the identity; see auth.Principal.Name.
	Name string `json:"name,omitempty"`
	// Plugin is the plugin that admitted the client; empty: no plugin did.
	Plugin string `json:"plugin"`
}

// Known reports whether the owner is a particular identity.
func (o Owner) Known() bool { return o.Plugin != "" }

// Same reports whether two owners are the same identity, whichever plugin admitted it: a plugin that replaces another one decides about the
// same users.
func (o Owner) Same(other Owner) bool { return o.Known() == other.Known() && o.Name == other.Name }

// ownerAttribute is the attribute that holds the owner: gateways that do not know owners preserve attributes.
const ownerAttribute = "owner"

// Owner returns the owner of the session.
func (s *Session) Owner() Owner {
	var o Owner
	if json.Unmarshal([]byte(s.Attributes[ownerAttribute]), &o) != nil {
		return Owner{}
	}
	return o
}

// SetOwner sets the owner of the session.
func (s *Session) SetOwner(o Owner) {
	if o == s.Owner() {
		return
	}
	if !o.Known() {
		delete(s.Attributes, ownerAttribute)
		return
	}
	b, err := json.Marshal(o)
	if err != nil {
		return // strings always encode
	}
	if s.Attributes == nil {
		s.Attributes = make(map[string]string, 2)
	}
	s.Attributes[ownerAttribute] = string(b)
}
