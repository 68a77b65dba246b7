package remoting

// Request codes of the commands in this package, as RocketMQ names them.
const (
	CodeSendMessage          = 10
	CodeSendMessageV2        = 310
	CodeSendBatchMessage     = 320
	CodePullMessage          = 11
	CodeQueryConsumerOffset  = 14
	CodeUpdateConsumerOffset = 15
	CodeCreateTopic          = 17
	CodeBrokerSettings       = 26
	CodeBrokerRuntimeInfo    = 28
	CodeSearchOffset         = 29
	CodeMaxOffset            = 30
	CodeMinOffset            = 31
	CodeViewMessage          = 33
	CodePutKVConfig          = 100
	CodeGetKVConfig          = 101
	CodeDeleteKVConfig       = 102
	CodeTopicRoute           = 105
	CodeClusterInfo          = 106
	CodeAllTopicList         = 206
	CodeDeleteTopicInBroker  = 215
	CodeDeleteTopicInNamesrv = 216
	CodeListKVConfig         = 219
	CodePopMessage           = 200050
	CodeChangeInvisible      = 200053
	CodeBatchAckMessage      = 200151
)

// Response codes that callers distinguish.
const (
	Success             = 0
	SystemError         = 1
	SystemBusy          = 2
	FlushDiskTimeout    = 10
	SlaveNotAvailable   = 11
	FlushSlaveTimeout   = 12
	MessageIllegal      = 13
	ServiceNotAvailable = 14
	NoPermission        = 16
	TopicNotExist       = 17
	PullNotFound        = 19
	PullRetry           = 20
	PullOffsetMoved     = 21
	QueryNotFound       = 22
	GroupNotExist       = 26
	NoMessage           = 208
	PollingFull         = 209
	PollingTimeout      = 210
)
