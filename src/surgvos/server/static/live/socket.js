// The socket: pictures and replies in, wishes out. It comes back by itself.
const PAUSE_MS = 1000;

export function connect(path, listeners) {
  let socket = null;

  function open() {
    const address = new URL(path, document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => {
      if (typeof event.data === "string") listeners.reply(JSON.parse(event.data));
      else listeners.picture(...read(event.data));
    };
    socket.onclose = () => setTimeout(open, PAUSE_MS);
  }

  open();
  return {
    send(wish) {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(wish));
      else listeners.reply({ kind: "refused", reason: "there is no connection" });
    },
  };
}

// Four bytes say how long the description is; behind it comes the JPEG.
function read(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const description = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return [description, new Blob([new Uint8Array(buffer, 4 + length)], { type: "image/jpeg" })];
}
