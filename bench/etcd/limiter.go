// How many tokens a second the limiter of `etcdctl check perf --load=l` gives on this machine when nothing holds it up.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run bench/etcd/limiter.go      (Debian: golang-golang-x-time-dev)
//
// That command wants 7,200 writes a second and takes a token of a limiter of 8,000 a second and a burst of 1 before each.
// With a burst of 1 a wake-up that comes later than 125 us loses a token for good, and a Go program that has nothing to do
// sleeps for whole milliseconds. So it is the command's own clock that is measured here, with no server at all and with one
// that answers each call after exactly 3 ms.
package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"
)

const (
	perSecond = 8000
	clients   = 500
	measured  = 3 * time.Second
)

func tokens(use func()) int {
	limiter := rate.NewLimiter(perSecond, 1)
	count := 0
	for began := time.Now(); time.Since(began) < measured; count++ {
		if err := limiter.Wait(context.Background()); err != nil {
			panic(err)
		}
		use()
	}
	return int(float64(count) / measured.Seconds())
}

func main() {
	fmt.Println(tokens(func() {}), "tokens a second with no server")
	requests := make(chan struct{}, clients)
	for range [clients]struct{}{} {
		go func() {
			for range requests {
				time.Sleep(3 * time.Millisecond)
			}
		}()
	}
	fmt.Println(tokens(func() { requests <- struct{}{} }), "tokens a second with a server that answers after 3 ms")
}
