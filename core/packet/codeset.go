package packet

// codeSet is a set of reason codes, one bit each.
type codeSet [3]uint64

func codes(list ...Code) (s codeSet) {
	for _, c := range list {
		s[c>>6] |= 1 << (c & 63)
	}
	return s
}

func (s *codeSet) has(c Code) bool {
	return int(c>>6) < len(s) && s[c>>6]&(1<<(c&63)) != 0
}

func (s codeSet) union(o codeSet) codeSet {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

// The reason codes that each packet may carry, from the tables of MQTT 5 sections 3.2.2.2 to 3.15.2.1.
var (
	connackCodes = codes(Success, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
		UnsupportedProtocolVersion, ClientIdentifierNotValid, BadUserNameOrPassword, NotAuthorized, ServerUnavailable, ServerBusy,
		Banned, BadAuthenticationMethod, TopicNameInvalid, PacketTooLarge, QuotaExceeded, PayloadFormatInvalid, RetainNotSupported,
		QoSNotSupported, UseAnotherServer, ServerMoved, ConnectionRateExceeded)

	publishAckCodes = codes(Success, NoMatchingSubscribers, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
		TopicNameInvalid, PacketIdentifierInUse, QuotaExceeded, PayloadFormatInvalid)

	releaseCodes = codes(Success, PacketIdentifierNotFound)

	subackCodes = codes(GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
		TopicFilterInvalid, PacketIdentifierInUse, QuotaExceeded, SharedSubscriptionsNotSupported,
		SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported)

	unsubackCodes = codes(Success, NoSubscriptionExisted, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
		TopicFilterInvalid, PacketIdentifierInUse)

	// The DISCONNECT codes that both sides may send, and those that only one side may send (table 3-10, "sent by").
	bothDisconnectCodes = codes(NormalDisconnection, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
		TopicNameInvalid, ReceiveMaximumExceeded, TopicAliasInvalid, PacketTooLarge, MessageRateTooHigh, QuotaExceeded,
		AdministrativeAction, PayloadFormatInvalid)
	clientDisconnectCodes = bothDisconnectCodes.union(codes(DisconnectWithWill))
	serverDisconnectCodes = bothDisconnectCodes.union(codes(NotAuthorized, ServerBusy, ServerShuttingDown, BadAuthenticationMethod,
		KeepAliveTimeout, SessionTakenOver, TopicFilterInvalid, RetainNotSupported, QoSNotSupported, UseAnotherServer, ServerMoved,
		SharedSubscriptionsNotSupported, ConnectionRateExceeded, MaximumConnectTime, SubscriptionIdentifiersNotSupported,
		WildcardSubscriptionsNotSupported))
	anyDisconnectCodes = clientDisconnectCodes.union(serverDisconnectCodes)

	clientAuthCodes = codes(ContinueAuthentication, ReAuthenticate)
	serverAuthCodes = codes(Success, ContinueAuthentication)
	anyAuthCodes    = clientAuthCodes.union(serverAuthCodes)
)

// ackCodes returns what a PUBACK, PUBREC, PUBREL or PUBCOMP may carry.
func ackCodes(kind Type) *codeSet {
	if kind == PUBREL || kind == PUBCOMP {
		return &releaseCodes
	}
	return &publishAckCodes
}
