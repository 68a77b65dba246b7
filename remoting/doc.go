// Package remoting speaks RocketMQ's remoting protocol: the commands that a gateway needs and that
// rocketmq-client-go does not export (namesrv configuration, routes with addresses, pulls that can be cancelled, offsets of
// any consumer group), and the codecs for commands, messages and message properties.
//
// A [Client] keeps one TCP connection to each address and multiplexes all calls on it; after a failure the next call opens a new one. Every
// call takes a context and returns soon after it ends. The typed methods are thin: one request, one answer, no retries and no cached
// routes; the caller decides where to ask and how often.
//
// All bytes that come from the network are bounded and checked: a peer can make a call fail, but never make it panic or use unbounded
// memory ([Config.MaxFrame], [Message.Inflate]).
//
// The package starts nothing by itself, and of lmqgate's packages it imports only internal/socket, so plugins can use it too.
//
// Main types: [Client], [Command], [Error], [Message], [Route].
package remoting
