// Node-Media-Server that records what is published to it.
// usage: NODE_PATH=<node_modules> node media_server.js RTMP_PORT HTTP_PORT DIRECTORY
const NodeMediaServer = require("node-media-server");

const [rtmp, http, path] = process.argv.slice(2);
const auth = { play: false, publish: false, secret: "" };
new NodeMediaServer({
    bind: "127.0.0.1",
    rtmp: { port: Number(rtmp) },
    http: { port: Number(http) },
    record: { path },
    auth,
}).run();
