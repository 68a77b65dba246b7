package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/remoting"
)

// broker is the state of one broker.
type broker struct {
	name, addr string
	version    int               // as RocketMQ numbers them
	settings   map[string]string // its configuration; nil if it does not reveal it
	told       map[string]string // its runtime state
	err        error             // it did not answer
	// asked and answered are the times of request and answer, by the clock of this machine.
	asked, answered time.Time
}

// mostTopics bounds how many topics are checked.
const mostTopics = 1000

// rocketMQ checks the name servers and the brokers.
func rocketMQ(ctx context.Context, o *Options) (out []Finding) {
	disks := make(map[string]float64)
	if o.Disks != nil {
		defer o.Disks(disks)
	}
	names := o.Config.Store.RocketMQ.Namesrv
	var info *remoting.ClusterInfo
	var namesrv string
	for _, addr := range names {
		asking, cancel := context.WithTimeout(ctx, patience)
		got, err := o.RocketMQ.ClusterInfo(asking, addr)
		cancel()
		switch {
		case err != nil:
			out = append(out, fault(fmt.Sprintf("store.rocketmq.namesrv: %s does not answer: %s", addr, cause(err)),
				"start the name server, open the way to it, or correct store.rocketmq.namesrv"))
		case info == nil:
			info, namesrv = got, addr
		}
	}
	if info == nil {
		return out
	}
	for i := range out {
		out[i].Level = Warning // another one answers
	}
	var brokers []broker
	for name, b := range info.Brokers {
		if b.Addresses[remoting.MasterID] == "" {
			out = append(out, warning("broker "+name+" has no master", "start its master: a slave takes no messages"))
			continue
		}
		brokers = append(brokers, broker{name: name, addr: b.Addresses[remoting.MasterID]})
	}
	slices.SortFunc(brokers, func(a, b broker) int { return strings.Compare(a.name, b.name) })
	if len(brokers) == 0 {
		return append(out, fault("no broker is registered with "+namesrv,
			"start a broker with namesrvAddr="+namesrv+"; a new one is there after some seconds"))
	}
	var all sync.WaitGroup
	for i := range brokers {
		all.Go(func() { brokers[i].ask(ctx, o) })
	}
	all.Wait()
	for i := range brokers {
		out = append(out, brokers[i].judge()...)
		if used, ok := brokers[i].disk(); ok {
			disks[brokers[i].name] = used
		}
	}
	out = append(out, topicsOf(ctx, o, namesrv, brokers, info)...)
	if f, ok := fullest(disks); ok {
		out = append(out, f)
	}
	return out
}

func (b *broker) ask(ctx context.Context, o *Options) {
	state, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b.askState(state, o)
	if b.told == nil && b.err == nil { // RocketMQ 5.1.4 fails to answer until its statistics have a first sample, a second after its start
		select {
		case <-state.Done():
		case <-time.After(patience / 2):
			b.askState(state, o)
		}
	}
	if b.err == nil {
		settings, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		b.settings, _ = o.RocketMQ.BrokerSettings(settings, b.addr) // may be for administrators only
	}
}

func (b *broker) askState(ctx context.Context, o *Options) {
	b.asked = o.Machine.Now()
	b.told, b.version, b.err = o.RocketMQ.BrokerRuntime(ctx, b.addr)
	b.answered = o.Machine.Now()
}

// worstSkew is the largest accepted clock difference between a broker and this machine.
const worstSkew = 5 * time.Second

// judge returns what is wrong with a broker.
func (b *broker) judge() (out []Finding) {
	if b.err != nil {
		return []Finding{fault(fmt.Sprintf("broker %s at %s does not answer: %s", b.name, b.addr, cause(b.err)),
			"start it, or set brokerIP1 in its configuration to an address that this machine reaches")}
	}
	var off []string
	for _, name := range []string{"enableLmq", "enableMultiDispatch"} {
		if v, there := b.settings[name]; there && !strings.EqualFold(v, "true") {
			off = append(off, name+"=true")
		}
	}
	if b.settings == nil {
		out = append(out, warning("broker "+b.name+" does not tell its settings, so nothing is known of its light message queues",
			"look for enableLmq=true and enableMultiDispatch=true in its configuration, or let the gateway's user read it"))
	}
	if len(off) > 0 {
		file := b.settings["brokerConfigPath"]
		if file == "" {
			file = "its configuration file (the one after -c)"
		}
		out = append(out, fault("broker "+b.name+" has its light message queues off",
			"set "+strings.Join(off, " and ")+" in "+file+", and restart it"))
	}
	if b.told == nil {
		out = append(out, warning("broker "+b.name+" tells nothing of its state", "where RocketMQ has ACL, let store.rocketmq.access_key read it"))
	}
	switch {
	case b.version > 0 && b.version < remoting.Version5_1_4:
		out = append(out, warning("broker "+b.name+" is older than RocketMQ 5.1.4, the oldest that is tested", "upgrade it to 5.4.0"))
	case b.version > 0 && b.version < remoting.Version5_2_0:
		out = append(out, warning("broker "+b.name+" is older than RocketMQ 5.2.0 and loses entries of light message queues that several queues of a topic feed, "+
			"so each topic uses one queue", "upgrade it to 5.4.0"))
	}
	if full, ok := b.disk(); ok && full > diskForcibly {
		f := warning(fmt.Sprintf("the disk of broker %s is %.0f%% full; above 85%% it removes messages before their time, "+
			"above 90%% it refuses new ones", b.name, 100*full), "free some, lower fileReservedTime, or give it a larger disk").
			of("the disk of broker " + b.name)
		if full > diskRefuses {
			f.Level = Fault
		}
		out = append(out, f)
	}
	if now, ok := clockOf(b.told); ok {
		switch ahead, behind := now.Sub(b.answered), b.asked.Sub(now); {
		case ahead > worstSkew:
			out = append(out, clockFinding(b.name, ahead, "ahead of"))
		case behind > worstSkew:
			out = append(out, clockFinding(b.name, behind, "behind"))
		}
	}
	return out
}

// How full a broker's disk may be, by RocketMQ's defaults.
const (
	diskForcibly = 0.85 // diskSpaceCleanForciblyRatio: above it the broker removes messages before fileReservedTime is over
	diskRefuses  = 0.90 // diskSpaceWarningLevelRatio: above it the broker refuses messages
)

// disk returns how full the broker's disk is: that of the commit log, or that of the queues where they are on a fuller one.
func (b *broker) disk() (used float64, ok bool) {
	for _, name := range []string{"commitLogDiskRatio", "consumeQueueDiskRatio"} {
		if v, err := strconv.ParseFloat(b.told[name], 64); err == nil && v >= 0 && v <= 1 {
			used, ok = max(used, v), true
		}
	}
	return used, ok
}

// fullest tells how full the brokers' disks are.
func fullest(disks map[string]float64) (Finding, bool) {
	most := ""
	for _, name := range slices.Sorted(maps.Keys(disks)) {
		if most == "" || disks[name] > disks[most] {
			most = name
		}
	}
	if most == "" {
		return Finding{}, false
	}
	return Finding{Level: OK, What: fmt.Sprintf("the fullest disk of a broker, that of %s, is %.0f%% full", most, 100*disks[most])}, true
}

func clockFinding(name string, by time.Duration, which string) Finding {
	return warning(fmt.Sprintf("the clock of broker %s is %s %s that of this machine; expiry and delays are off by as much", name, by.Round(time.Second), which),
		"keep both in time with NTP (chrony, systemd-timesyncd)").of("the clock of broker " + name)
}

// clockOf returns a broker's time, to the second: its start time plus its uptime.
func clockOf(told map[string]string) (time.Time, bool) {
	boot, err := strconv.ParseInt(told["bootTimestamp"], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	var days, hours, minutes, seconds int64
	n, _ := fmt.Sscanf(told["runtime"], "[ %d days, %d hours, %d minutes, %d seconds ]", &days, &hours, &minutes, &seconds)
	if n != 4 {
		return time.Time{}, false
	}
	return time.UnixMilli(boot).Add(time.Duration(((days*24+hours)*60+minutes)*60+seconds) * time.Second), true
}

// topicsOf checks that each topic of users is on each broker.
func topicsOf(ctx context.Context, o *Options, namesrv string, brokers []broker, info *remoting.ClusterInfo) (out []Finding) {
	ctx, cancel := context.WithTimeout(ctx, 10*patience)
	defer cancel()
	topics, err := o.RocketMQ.AllTopicList(ctx, namesrv)
	if err != nil {
		return []Finding{warning("the topics cannot be listed: "+cause(err), "where RocketMQ has ACL, let store.rocketmq.access_key read them")}
	}
	slices.Sort(topics)
	looked := 0
	for _, topic := range topics {
		_, isBroker := info.Brokers[topic]
		_, isCluster := info.Clusters[topic]
		if isBroker || isCluster || !o.ValidTopic(topic) {
			continue
		}
		if looked++; looked > mostTopics {
			return append(out, warning(fmt.Sprintf("there are more than %d topics; the rest were not looked at", mostTopics), "nothing"))
		}
		route, err := o.RocketMQ.TopicRoute(ctx, namesrv, topic)
		if ctx.Err() != nil {
			return append(out, warning("the name servers took too long; topics from "+topic+" on were not looked at", "try again"))
		}
		if err != nil {
			continue // deleted meanwhile
		}
		if f, ok := lacking(topic, route, brokers, namesrv); ok {
			out = append(out, f)
		}
	}
	return out
}

// lacking reports a topic that some brokers do not have.
func lacking(topic string, route *remoting.Route, brokers []broker, namesrv string) (Finding, bool) {
	var without []string
	for _, b := range brokers {
		if !slices.ContainsFunc(route.Queues, func(q remoting.QueueData) bool { return q.BrokerName == b.name && q.Writable() }) {
			without = append(without, b.name)
		}
	}
	if len(without) == 0 {
		return Finding{}, false
	}
	return warning(fmt.Sprintf("topic %q cannot be written on %s, so fewer brokers carry it", topic, strings.Join(without, ", ")),
		fmt.Sprintf("create it there: mqadmin updateTopic -n %s -b ADDRESS -t %s", namesrv, topic)), true
}
