package packet

import mochi "github.com/mochi-mqtt/server/v2/packets"

// set stores a value and the flag that says it is there.
func set[T any](from *T, to *T, flag *bool) {
	if from == nil {
		return
	}
	*to = *from
	if flag != nil {
		*flag = true
	}
}

func propertiesToMochi(m *mochi.Properties, p *Properties) {
	if p == nil {
		return
	}
	set(p.PayloadFormat, &m.PayloadFormat, &m.PayloadFormatFlag)
	set(p.MessageExpiryInterval, &m.MessageExpiryInterval, nil)
	set(p.ContentType, &m.ContentType, nil)
	set(p.ResponseTopic, &m.ResponseTopic, nil)
	m.CorrelationData = p.CorrelationData
	for _, id := range p.SubscriptionIdentifiers {
		m.SubscriptionIdentifier = append(m.SubscriptionIdentifier, int(id))
	}
	set(p.SessionExpiryInterval, &m.SessionExpiryInterval, &m.SessionExpiryIntervalFlag)
	set(p.AssignedClientIdentifier, &m.AssignedClientID, nil)
	set(p.ServerKeepAlive, &m.ServerKeepAlive, &m.ServerKeepAliveFlag)
	set(p.AuthenticationMethod, &m.AuthenticationMethod, nil)
	m.AuthenticationData = p.AuthenticationData
	set(p.RequestProblemInformation, &m.RequestProblemInfo, &m.RequestProblemInfoFlag)
	set(p.WillDelayInterval, &m.WillDelayInterval, nil)
	set(p.RequestResponseInformation, &m.RequestResponseInfo, nil)
	set(p.ResponseInformation, &m.ResponseInfo, nil)
	set(p.ServerReference, &m.ServerReference, nil)
	set(p.ReasonString, &m.ReasonString, nil)
	set(p.ReceiveMaximum, &m.ReceiveMaximum, nil)
	set(p.TopicAliasMaximum, &m.TopicAliasMaximum, nil)
	set(p.TopicAlias, &m.TopicAlias, &m.TopicAliasFlag)
	set(p.MaximumQoS, &m.MaximumQos, &m.MaximumQosFlag)
	set(p.RetainAvailable, &m.RetainAvailable, &m.RetainAvailableFlag)
	for _, u := range p.User {
		m.User = append(m.User, mochi.UserProperty{Key: u.Key, Val: u.Value})
	}
	set(p.MaximumPacketSize, &m.MaximumPacketSize, nil)
	set(p.WildcardSubscriptionAvailable, &m.WildcardSubAvailable, &m.WildcardSubAvailableFlag)
	set(p.SubscriptionIdentifierAvailable, &m.SubIDAvailable, &m.SubIDAvailableFlag)
	set(p.SharedSubscriptionAvailable, &m.SharedSubAvailable, &m.SharedSubAvailableFlag)
}

// some returns a pointer to x, nil for its zero value.
func some[T comparable](x T) *T {
	var zero T
	if x == zero {
		return nil
	}
	return &x
}

// flagged returns a pointer to x where the flag is set.
func flagged[T any](x T, flag bool) *T {
	if !flag {
		return nil
	}
	return &x
}

// propertiesFromMochi returns nil when there are none.
func propertiesFromMochi(m *mochi.Properties) *Properties {
	p := &Properties{
		PayloadFormat:                   flagged(m.PayloadFormat, m.PayloadFormatFlag),
		MessageExpiryInterval:           some(m.MessageExpiryInterval),
		ContentType:                     some(m.ContentType),
		ResponseTopic:                   some(m.ResponseTopic),
		CorrelationData:                 m.CorrelationData,
		SessionExpiryInterval:           flagged(m.SessionExpiryInterval, m.SessionExpiryIntervalFlag),
		AssignedClientIdentifier:        some(m.AssignedClientID),
		ServerKeepAlive:                 flagged(m.ServerKeepAlive, m.ServerKeepAliveFlag),
		AuthenticationMethod:            some(m.AuthenticationMethod),
		AuthenticationData:              m.AuthenticationData,
		RequestProblemInformation:       flagged(m.RequestProblemInfo, m.RequestProblemInfoFlag),
		WillDelayInterval:               some(m.WillDelayInterval),
		RequestResponseInformation:      some(m.RequestResponseInfo),
		ResponseInformation:             some(m.ResponseInfo),
		ServerReference:                 some(m.ServerReference),
		ReasonString:                    some(m.ReasonString),
		ReceiveMaximum:                  some(m.ReceiveMaximum),
		TopicAliasMaximum:               some(m.TopicAliasMaximum),
		TopicAlias:                      flagged(m.TopicAlias, m.TopicAliasFlag),
		MaximumQoS:                      flagged(m.MaximumQos, m.MaximumQosFlag),
		RetainAvailable:                 flagged(m.RetainAvailable, m.RetainAvailableFlag),
		MaximumPacketSize:               some(m.MaximumPacketSize),
		WildcardSubscriptionAvailable:   flagged(m.WildcardSubAvailable, m.WildcardSubAvailableFlag),
		SubscriptionIdentifierAvailable: flagged(m.SubIDAvailable, m.SubIDAvailableFlag),
		SharedSubscriptionAvailable:     flagged(m.SharedSubAvailable, m.SharedSubAvailableFlag),
	}
	for _, id := range m.SubscriptionIdentifier {
		p.SubscriptionIdentifiers = append(p.SubscriptionIdentifiers, uint32(id))
	}
	for _, u := range m.User {
		p.User = append(p.User, UserProperty{Key: u.Key, Value: u.Val})
	}
	if p.present(anyProperty) == 0 {
		return nil
	}
	return p
}
