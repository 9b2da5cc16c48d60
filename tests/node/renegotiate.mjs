// A TLS 1.2 server that sends back what comes, and asks for a new handshake after the first 1,000 bytes.
// node renegotiate.mjs KEY CERTIFICATE: prints its port, then "renegotiated".
import fs from "node:fs";
import tls from "node:tls";

const [key, cert] = process.argv.slice(2).map((file) => fs.readFileSync(file));
const server = tls.createServer({ key, cert, maxVersion: "TLSv1.2" }, (socket) => {
  let came = 0;
  let asked = false;
  socket.on("error", () => {});
  socket.on("data", (data) => {
    socket.write(data);
    came += data.length;
    if (came >= 1000 && !asked) {
      asked = true;
      socket.renegotiate({}, (error) => console.log(error ? `refused: ${error}` : "renegotiated"));
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
