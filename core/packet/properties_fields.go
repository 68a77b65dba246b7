package packet

// The fields of Properties by identifier, one function for each wire type. The identifiers are those of the table, so the last
// case of each needs no check.

func (p *Properties) byteField(id int) **byte {
	switch id {
	case idPayloadFormat:
		return &p.PayloadFormat
	case idRequestProblemInformation:
		return &p.RequestProblemInformation
	case idRequestResponseInformation:
		return &p.RequestResponseInformation
	case idMaximumQoS:
		return &p.MaximumQoS
	case idRetainAvailable:
		return &p.RetainAvailable
	case idWildcardSubscriptionAvailable:
		return &p.WildcardSubscriptionAvailable
	case idSubscriptionIdentifierAvailable:
		return &p.SubscriptionIdentifierAvailable
	default:
		return &p.SharedSubscriptionAvailable
	}
}

func (p *Properties) uint16Field(id int) **uint16 {
	switch id {
	case idServerKeepAlive:
		return &p.ServerKeepAlive
	case idReceiveMaximum:
		return &p.ReceiveMaximum
	case idTopicAliasMaximum:
		return &p.TopicAliasMaximum
	default:
		return &p.TopicAlias
	}
}

func (p *Properties) uint32Field(id int) **uint32 {
	switch id {
	case idMessageExpiryInterval:
		return &p.MessageExpiryInterval
	case idSessionExpiryInterval:
		return &p.SessionExpiryInterval
	case idWillDelayInterval:
		return &p.WillDelayInterval
	default:
		return &p.MaximumPacketSize
	}
}

func (p *Properties) stringField(id int) **string {
	switch id {
	case idContentType:
		return &p.ContentType
	case idResponseTopic:
		return &p.ResponseTopic
	case idAssignedClientIdentifier:
		return &p.AssignedClientIdentifier
	case idAuthenticationMethod:
		return &p.AuthenticationMethod
	case idResponseInformation:
		return &p.ResponseInformation
	case idServerReference:
		return &p.ServerReference
	default:
		return &p.ReasonString
	}
}

func (p *Properties) binaryField(id int) *[]byte {
	if id == idCorrelationData {
		return &p.CorrelationData
	}
	return &p.AuthenticationData
}
