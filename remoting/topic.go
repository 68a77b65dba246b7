package remoting

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// Permissions of a topic's queues on a broker.
const (
	PermWrite     = 2
	PermRead      = 4
	PermReadWrite = PermRead | PermWrite
)

// MasterID is the broker id of a master; others are slaves.
const MasterID = "0"

// QueueData describes the queues of a topic on a broker.
type QueueData struct {
	BrokerName  string `json:"brokerName"`
	ReadQueues  int    `json:"readQueueNums"`
	WriteQueues int    `json:"writeQueueNums"`
	Perm        int    `json:"perm"`
}

// Readable reports whether messages may be read from the queues.
func (q QueueData) Readable() bool { return q.Perm&PermRead != 0 }

// Writable reports whether messages may be sent to the queues.
func (q QueueData) Writable() bool { return q.Perm&PermWrite != 0 }

// BrokerData has the addresses of a broker and its slaves.
type BrokerData struct {
	Cluster string `json:"cluster"`
	Name    string `json:"brokerName"`
	// Addresses by broker id ("0" is the master).
	Addresses map[string]string `json:"brokerAddrs"`
}

// Route says which brokers have a topic.
type Route struct {
	Queues  []QueueData  `json:"queueDatas"`
	Brokers []BrokerData `json:"brokerDatas"`
}

// Master returns the address of a broker's master, "" if the route has none.
func (r *Route) Master(broker string) string {
	for i := range r.Brokers {
		if r.Brokers[i].Name == broker {
			return r.Brokers[i].Addresses[MasterID]
		}
	}
	return ""
}

// TopicRoute asks a namesrv for the route of a topic. A topic without a route is an *Error with code TopicNotExist.
func (c *Client) TopicRoute(ctx context.Context, namesrv, topic string) (*Route, error) {
	var r Route
	if err := c.query(ctx, namesrv, &Command{Code: CodeTopicRoute, Ext: map[string]string{
		"topic": topic, "acceptStandardJsonOnly": "true",
	}}, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// ClusterInfo lists all brokers that a namesrv knows.
type ClusterInfo struct {
	// Brokers by broker name.
	Brokers map[string]BrokerData `json:"brokerAddrTable"`
	// Clusters are the broker names of each cluster.
	Clusters map[string][]string `json:"clusterAddrTable"`
}

// ClusterInfo asks a namesrv for all brokers.
func (c *Client) ClusterInfo(ctx context.Context, namesrv string) (*ClusterInfo, error) {
	var info ClusterInfo
	if err := c.query(ctx, namesrv, &Command{Code: CodeClusterInfo}, &info); err != nil {
		return nil, err
	}
	return &info, nil
}

// AllTopicList asks a namesrv for the names of all topics, RocketMQ's own included.
func (c *Client) AllTopicList(ctx context.Context, namesrv string) ([]string, error) {
	var list struct {
		Topics []string `json:"topicList"`
	}
	if err := c.query(ctx, namesrv, &Command{Code: CodeAllTopicList}, &list); err != nil {
		return nil, err
	}
	return list.Topics, nil
}

// query makes a request whose answer is a JSON body.
func (c *Client) query(ctx context.Context, addr string, req *Command, into any) error {
	resp, err := c.do(ctx, addr, req)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(standardJSON(resp.Body), into); err != nil {
		return fmt.Errorf("%w: answer of %s to request %d: %w", ErrMalformed, addr, req.Code, err)
	}
	return nil
}

// TopicConfig is a topic on one broker.
type TopicConfig struct {
	Name        string
	ReadQueues  int
	WriteQueues int
	Perm        int
}

// CreateTopic creates a topic on one broker's master, or changes it. The namesrvs learn of it a moment later.
func (c *Client) CreateTopic(ctx context.Context, broker string, t TopicConfig) error {
	_, err := c.do(ctx, broker, &Command{Code: CodeCreateTopic, Ext: map[string]string{
		"topic": t.Name, "defaultTopic": "TBW102",
		"readQueueNums": strconv.Itoa(t.ReadQueues), "writeQueueNums": strconv.Itoa(t.WriteQueues),
		"perm": strconv.Itoa(t.Perm), "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false",
	}})
	return err
}

// DeleteTopicInBroker removes a topic and its queues from one broker's master.
func (c *Client) DeleteTopicInBroker(ctx context.Context, broker, topic string) error {
	_, err := c.do(ctx, broker, &Command{Code: CodeDeleteTopicInBroker, Ext: map[string]string{"topic": topic}})
	return err
}

// DeleteTopicInNamesrv removes a topic's route from one namesrv.
func (c *Client) DeleteTopicInNamesrv(ctx context.Context, namesrv, topic string) error {
	_, err := c.do(ctx, namesrv, &Command{Code: CodeDeleteTopicInNamesrv, Ext: map[string]string{"topic": topic}})
	return err
}

// Versions of brokers, as ServerVersion returns them.
const (
	Version5_0_0 = 413
	Version5_1_4 = 441
	Version5_2_0 = 453
	Version5_4_0 = 493
)

// ServerVersion returns a server's version number (the ordinal of Java's MQVersion.Version). Every answer carries it, including refusals.
func (c *Client) ServerVersion(ctx context.Context, addr string) (int, error) {
	resp, err := c.Invoke(ctx, addr, &Command{Code: CodeBrokerRuntimeInfo})
	if err != nil {
		return 0, err
	}
	return resp.Version, nil
}

// BrokerRuntime asks a broker for its state, by name, and returns it with the broker's version. If the broker refuses to return its state,
// told is nil.
func (c *Client) BrokerRuntime(ctx context.Context, addr string) (told map[string]string, version int, err error) {
	resp, err := c.Invoke(ctx, addr, &Command{Code: CodeBrokerRuntimeInfo})
	if err != nil {
		return nil, 0, err
	}
	var state struct {
		Table map[string]string `json:"table"`
	}
	if resp.Code != Success {
		return nil, resp.Version, nil
	}
	if err := json.Unmarshal(standardJSON(resp.Body), &state); err != nil {
		return nil, resp.Version, fmt.Errorf("%w: state of broker %s: %w", ErrMalformed, addr, err)
	}
	return state.Table, resp.Version, nil
}
