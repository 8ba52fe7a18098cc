// A TLS front for a plain-text endpoint, since the suite speaks TLS alone: bytes pass unchanged, h2 by ALPN.
//
//     node tls_front.js CERTIFICATES HOST PORT     prints the port that it listens on, and serves until killed
'use strict';
const fs = require('fs');
const net = require('net');
const tls = require('tls');

const [certificates, host, port] = process.argv.slice(2);
const options = {
  cert: fs.readFileSync(`${certificates}/certs/etcd0.localhost.crt`),
  key: fs.readFileSync(`${certificates}/private/etcd0.localhost.key`),
  ALPNProtocols: ['h2'],
};
const server = tls.createServer(options, client => {
  const upstream = net.connect(Number(port), host);
  // Either side may vanish: the other one is closed with it.
  client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy());
  upstream.on('error', () => client.destroy()).on('close', () => client.destroy());
  client.pipe(upstream).pipe(client);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
