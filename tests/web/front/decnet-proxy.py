"""Gives a page, and passes /api/ on as the web server that comes with DECNET does.

What of it matters to the server behind (contract of this test):
- answers are HTTP/1.0 and end with their connection;
- all headers of a request go on but Host and Connection, X-Forwarded-For included, and none is added;
- what comes is written at once; an event stream has no time limit behind its headers;
- nobody looks after the browser: that it is gone shows when something is written to it;
- an answer that breaks off is followed by the head and the text of a 502, in the middle of the body.

Usage: decnet-proxy.py PAGE API_HOST API_PORT. Prints its own port.
"""

import http.client
import http.server
import sys

page_file, api_host, api_port = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(page_file, "rb") as file:
    PAGE = file.read()


class Front(http.server.BaseHTTPRequestHandler):
    def answer(self):
        if self.path.startswith("/api/"):
            self.pass_on()
        elif self.command == "GET":
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)
        else:
            self.send_error(405)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def pass_on(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size > 0 else None
        kept = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
        api = http.client.HTTPConnection(api_host, api_port, timeout=120)
        try:
            api.request(self.command, self.path, body, kept)
            response = api.getresponse()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in {"connection", "transfer-encoding"}:
                    self.send_header(name, value)
            self.end_headers()
            if response.getheader("Content-Type", "").startswith("text/event-stream"):
                api.sock.settimeout(None)
            while piece := response.read1(4096):
                self.wfile.write(piece)
                self.wfile.flush()
        except (OSError, http.client.HTTPException) as error:
            try:
                self.send_error(502, str(error))
            except OSError:
                pass
        finally:
            api.close()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
print(server.server_port, flush=True)
server.serve_forever()
