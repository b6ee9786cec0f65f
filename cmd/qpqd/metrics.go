package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"quicproquo/cluster"
	"quicproquo/fsm"
	"quicproquo/rpc"
	"quicproquo/schemas"
)

// metricsTimeout bounds every step of one scrape's connection.
const metricsTimeout = 10 * time.Second

// observed is one node whose numbers are shown. Both are nil while it is down.
type observed struct {
	id     string
	engine func() *cluster.Node
	server func() *rpc.Server
}

// serveMetrics answers GET /metrics on a TCP address until stop is called. An
// empty address serves nothing. Whoever reaches the address reads the numbers:
// it should be a loopback or an operators' one.
func serveMetrics(address string, nodes []observed, logger *slog.Logger) (stop func(context.Context) error, err error) {
	if address == "" {
		return func(context.Context) error { return nil }, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, exitError{exitIO, fmt.Errorf("listen for metrics: %w", err)}
	}
	server := &http.Server{
		Handler: metricsHandler(nodes), ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout, IdleTimeout: metricsTimeout,
		MaxHeaderBytes: 16 << 10,
	}
	return serveHTTP(server, listener, logger, "metrics are served", "http://"+listener.Addr().String()+"/metrics"), nil
}

func metricsHandler(nodes []observed) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		nodesCollector(nodes),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, DisableCompression: true}))
	return mux
}

// nodesCollector reads everything at each scrape and keeps nothing.
type nodesCollector []observed

// Describe tells nothing: what there is depends on what has happened.
func (nodesCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c nodesCollector) Collect(ch chan<- prometheus.Metric) {
	for _, o := range c {
		s := sink{ch: ch, node: o.id}
		engine, server := o.engine(), o.server()
		s.gauge("up", "1 while the node runs.", flag(engine != nil && engine.Err() == nil))
		if engine == nil || server == nil {
			continue
		}
		s.nodeState(engine)
		s.server(server.Stats())
		s.limits(engine, server)
	}
}

// sink writes the metrics of one node.
type sink struct {
	ch   chan<- prometheus.Metric
	node string
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// write writes one number; labels are names and values in turn.
func (s sink) write(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	names, values := []string{"node"}, []string{s.node}
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	s.ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("qpq_"+name, help, names, nil), kind, value, values...)
}

func (s sink) gauge(name, help string, value float64, labels ...string) {
	s.write(prometheus.GaugeValue, name, help, value, labels)
}

func (s sink) count(name, help string, value uint64, labels ...string) {
	s.write(prometheus.CounterValue, name, help, float64(value), labels)
}

// nodeState is the node's state in its cluster, and its machine.
func (s sink) nodeState(engine *cluster.Node) {
	st := engine.Status()
	s.gauge("info", "What runs here; always 1.", 1, "version", st.Version, "feature_level", fmt.Sprint(st.FeatureLevel))
	s.gauge("start_time_seconds", "When the node started, since 1970.", float64(st.StartedAt.UnixMilli())/1000)
	s.gauge("clock_off_seconds", "How far this machine's clock is ahead of those of a majority.", st.ClockOff.Seconds())
	s.gauge("raft_leader", "1 on the node that leads.", flag(st.Leader == st.ID))
	s.gauge("raft_has_leader", "1 while the node knows who leads.", flag(st.Leader != ""))
	s.gauge("raft_term", "Raft's term.", float64(st.Term))
	s.gauge("raft_applied_index", "Log entries applied.", float64(st.AppliedIndex))
	s.gauge("raft_commit_index", "Log entries known to be committed.", float64(st.CommitIndex))
	s.gauge("raft_last_index", "Log entries on this node's disk.", float64(st.LastLogIndex))
	s.gauge("raft_lag_entries", "Log entries that are committed and not applied yet.", float64(st.CommitIndex)-float64(min(st.AppliedIndex, st.CommitIndex)))
	s.gauge("store_command_index", "Index of the last command in the store.", float64(st.CommandIndex))
	for _, m := range st.Members {
		s.gauge("member", "The members of the cluster; 1 for those who vote.", flag(m.Voter), "id", string(m.ID), "address", m.Address)
	}
	u := engine.Usage()
	s.gauge("disk_total_bytes", "Size of the file system that holds the node's directory.", float64(u.Disk.Total))
	s.gauge("disk_free_bytes", "Free space there.", float64(u.Disk.Free))
	s.gauge("disk_read_only", "1 while the node refuses writes because its disk is full.", flag(st.ReadOnly))
	s.gauge("unauthenticated_connections", "QUIC connections that are no node's: clients, and handshakes in flight.", float64(u.Guests.Guests))
	s.gauge("unauthenticated_addresses", "IPv4 addresses and IPv6 /64s that they come from.", float64(u.Guests.Addresses))
	s.gauge("handshakes_in_flight", "Handshakes in flight.", float64(u.Guests.Handshakes))
	s.gauge("window_bytes", "What clients' flow-control windows take of the budget.", float64(u.Guests.WindowTaken))
	s.count("handshakes_retried_total", "Handshakes that had to prove their address first.", u.Guests.Retried)
	s.count("unauthenticated_refused_total", "Connections refused over the limits of unauthenticated ones.", u.Guests.Refused)
}

// server is what the client server has counted.
func (s sink) server(st rpc.Stats) {
	s.gauge("connections", "Connections of clients.", float64(st.Conns))
	s.gauge("streams", "Open streams of clients.", float64(st.Streams))
	s.gauge("unauthenticated_streams", "Those among them on connections without a session.", float64(st.OpenStreams))
	s.gauge("calls_in_flight", "Calls in flight.", float64(st.Running))
	s.gauge("subscriptions", "Subscribe calls in flight.", float64(st.Subscribes))
	s.gauge("request_memory_bytes", "Memory of large requests.", float64(st.RequestMemory))
	s.gauge("response_memory_bytes", "Memory of large responses in flight.", float64(st.AnswerMemory))
	s.gauge("rate_buckets", "Callers whose rate limit has not recovered fully.", float64(st.Buckets))
	s.count("connections_total", "Connections of clients that were served.", st.ConnsServed)
	s.count("connections_refused_total", "Connections of clients over the limit.", st.ConnsRefused)
	s.count("streams_refused_total", "Streams over the limit.", st.StreamsRefused)
	s.count("request_bytes_total", "Bytes of requests.", st.BytesIn)
	s.count("response_bytes_total", "Bytes of responses.", st.BytesOut)
	s.count("transfers_dropped_total", "Slow requests and responses whose memory others needed.", st.Dropped)
	s.count("rate_buckets_evicted_total", "Callers whose rate limit was evicted before it had recovered.", st.BucketsEvicted)
	for _, c := range st.Calls {
		s.count("calls_total", "Calls by method and error code (docs/errors.md).", c.Count, "method", c.Method, "code", c.Code.Doc().Name)
	}
	for _, c := range st.Limited {
		s.count("rate_limited_total", "Calls refused for their rate, by class and by whose rate it was.", c.Count, "class", c.Class.String(), "by", c.By)
	}
}

const limitHelp = "Every limit with its value, in bytes, seconds or pieces (docs/limits.md, docs/settings.md)."

func (s sink) limit(name string, value float64) { s.gauge("limit", limitHelp, value, "name", name) }

// limits are the protocol's, the client server's, the endpoint's and the cluster's settings.
func (s sink) limits(engine *cluster.Node, server *rpc.Server) {
	for _, l := range schemas.Limits() {
		s.limit("protocol."+l.Name, l.Value)
	}
	for _, m := range server.Methods() {
		s.limit("method."+m.Name+".bytes", float64(m.MaxBytes))
	}
	limits, usage := server.Limits(), engine.Usage()
	s.fields("server.", limits)
	for _, r := range limits.Rates {
		s.rate("rate."+r.Class.String()+".device", r.Device)
		s.rate("rate."+r.Class.String()+".address", r.Address)
	}
	s.fields("endpoint.", usage.GuestLimits)
	s.limit("node.MinFreeDisk", usage.MinFreeDisk)
	s.settings(engine)
}

func (s sink) rate(name string, r rpc.Rate) {
	if r.Burst <= 0 || r.Every <= 0 {
		return
	}
	s.limit(name+".burst", float64(r.Burst))
	s.limit(name+".perSecond", float64(time.Second)/float64(r.Every))
}

// fields writes the numbers of a struct of limits, times in seconds.
func (s sink) fields(prefix string, limits any) {
	v := reflect.ValueOf(limits)
	for i := range v.NumField() {
		name := prefix + v.Type().Field(i).Name
		switch value := v.Field(i).Interface().(type) {
		case int:
			s.limit(name, float64(value))
		case int64:
			s.limit(name, float64(value))
		case time.Duration:
			s.limit(name, value.Seconds())
		}
	}
}

// settings are read from this node's store; one that is closing has none to show.
func (s sink) settings(engine *cluster.Node) {
	view, err := engine.View()
	if err != nil {
		return
	}
	defer view.Close()
	for _, row := range fsm.Settings() {
		if value, ok, err := view.Setting(row.Name); err == nil && ok {
			s.limit("setting."+strings.ToLower(row.Name), float64(value))
		}
	}
}
