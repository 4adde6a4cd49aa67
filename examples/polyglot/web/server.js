// What customers see: a page, orders that go to the API, and the state of all orders as it changes
// (server-sent events).
"use strict";

const http = require("node:http");

const { API_URL, PORT, SHOP } = process.env;
// How long a customer waits for the API, and how often the page is told of orders.
const PATIENCE = 5000;
const EVERY = 500;

async function ask(path, options = {}) {
  const signal = AbortSignal.timeout(PATIENCE);
  const response = await fetch(new URL(path, API_URL), { signal, ...options });
  if (!response.ok) throw new Error(`the API answered ${response.status}`);
  return response.json();
}

// What only reads may be asked again: the name of the API leads to each of its processes, also to
// those that begin or end at this moment.
async function read(path) {
  const until = Date.now() + PATIENCE;
  for (;;) {
    try {
      return await ask(path);
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise((again) => setTimeout(again, 100));
    }
  }
}

function reply(response, status, type, body) {
  response.writeHead(status, { "content-type": type });
  response.end(body);
}

async function body(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > 10_000) throw new Error("an order is shorter than that");
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

const page = `<!doctype html>
<meta charset="utf-8">
<title>${SHOP}</title>
<h1>${SHOP}</h1>
<form><input name="what" required maxlength="100"> <button>Order</button></form>
<ul></ul>
<script>
  const list = document.querySelector("ul");
  document.querySelector("form").onsubmit = async (event) => {
    event.preventDefault();
    await fetch("/orders", { method: "POST", body: new FormData(event.target).get("what") });
    event.target.reset();
  };
  new EventSource("/events").onmessage = (event) => {
    list.replaceChildren(...JSON.parse(event.data).map((order) => {
      const item = document.createElement("li");
      item.textContent = order.what + ": " + order.state;
      return item;
    }));
  };
</script>
`;

// Tells of orders for as long as somebody listens.
function events(response) {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  let last = "";
  const tell = async () => {
    const now = await read("/orders").then(JSON.stringify, () => last);
    if (now !== last) response.write(`data: ${(last = now)}\n\n`);
  };
  const timer = setInterval(tell, EVERY);
  response.on("close", () => clearInterval(timer));
  tell();
}

async function route(request, response) {
  switch (`${request.method} ${new URL(request.url, "http://shop").pathname}`) {
    case "GET /health":
      return reply(response, 200, "text/plain", "ok\n");
    case "GET /":
      return reply(response, 200, "text/html; charset=utf-8", page);
    case "GET /orders":
      return reply(response, 200, "application/json", JSON.stringify(await read("/orders")));
    case "GET /events":
      return events(response);
    case "POST /orders": {
      const order = await ask("/orders", { method: "POST", body: await body(request) });
      return reply(response, 201, "application/json", JSON.stringify(order));
    }
    default:
      return reply(response, 404, "text/plain", "there is no such page\n");
  }
}

const server = http.createServer((request, response) => {
  route(request, response).catch((error) => {
    console.error(`${request.method} ${request.url}: ${error.message}`);
    if (response.headersSent) response.destroy();
    else reply(response, 502, "text/plain", "the shop cannot take orders at the moment\n");
  });
});

server.listen(PORT, () => console.log(`listening on ${PORT}, the API is ${API_URL}`));

// Listeners hear the end of the stream and ask another process.
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeAllConnections();
});
