package meta

import "encoding/json"

// Owner says whose a session is: as whom its client was admitted, and by which plugin. The zero Owner is that of sessions of anonymous
// clients, and of records from before owners were kept; such a session belongs to whoever has it next.
type Owner struct {
	// Name is the identity's stable name; see auth.Principal.Name.
	Name string `json:"name,omitempty"`
	// Plugin is what admitted the client; empty: nobody has judged it.
	Plugin string `json:"plugin"`
}

// Known reports whether the owner is somebody in particular.
func (o Owner) Known() bool { return o.Plugin != "" }

// Same reports whether two owners are the same identity, whichever plugin has admitted it: a plugin that takes the place of another
// judges the same users.
func (o Owner) Same(other Owner) bool { return o.Known() == other.Known() && o.Name == other.Name }

// ownerAttribute is where the record has the owner: gateways that know nothing of owners keep attributes.
const ownerAttribute = "owner"

// Owner returns whose the session is.
func (s *Session) Owner() Owner {
	var o Owner
	if json.Unmarshal([]byte(s.Attributes[ownerAttribute]), &o) != nil {
		return Owner{}
	}
	return o
}

// SetOwner notes whose the session is.
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
		return // texts can always be marshalled
	}
	if s.Attributes == nil {
		s.Attributes = make(map[string]string, 2)
	}
	s.Attributes[ownerAttribute] = string(b)
}
