package limits

// IdentityShare, ClientShare and Reserve are the defaults of limits.identity.share, limits.client.share and limits.cluster.reserve, in
// percent. They apply to the configuration, and to parts that are made without one.
const (
	IdentityShare = 50
	ClientShare   = 10
	Reserve       = 10
)
