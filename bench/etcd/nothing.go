// A server that does nothing: it answers each put of etcd's API after a given time and keeps none.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run bench/etcd/nothing.go 3ms   (Debian: golang-etcd-server-dev)
//	etcdctl --endpoints 127.0.0.1:2399 check perf --load=l
//
// What `etcdctl check perf` reaches against it is what the command itself allows on a machine.
package main

import (
	"context"
	"net"
	"os"
	"time"

	pb "go.etcd.io/etcd/etcdserver/etcdserverpb"
	"google.golang.org/grpc"
)

type nothing struct {
	pb.KVServer
	after time.Duration
}

func (n nothing) Put(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
	time.Sleep(n.after)
	return &pb.PutResponse{Header: &pb.ResponseHeader{Revision: 1}}, nil
}

func (nothing) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	return &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 1}}, nil
}

func (nothing) DeleteRange(context.Context, *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	return &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{Revision: 1}}, nil
}

func main() {
	after, err := time.ParseDuration(os.Args[1])
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:2399")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	pb.RegisterKVServer(server, nothing{after: after})
	panic(server.Serve(listener))
}
