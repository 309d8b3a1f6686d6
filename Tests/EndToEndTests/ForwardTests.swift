import Glibc
import Testing

extension EndToEnd {
  /// Forwarded ports and sockets, with the real programs.
  @Suite struct Forwards {
    @Test func `ports and sockets in both directions between two NATs`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.a.shell("mkdir www; head -c 3000000 /dev/urandom > www/file")
        try lab.a.serve(
          ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "www", "8000"], port: 8000)
        try lab.b.shell("mkdir www; head -c 1000000 /dev/urandom > www/other")
        try lab.b.serve(
          ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "www", "8001"], port: 8001)
        let socket = "\(lab.a.home)/there.sock"
        _ = try lab.a.sockets("echo", socket)
        #expect(eventually(within: 5) { access(socket, F_OK) == 0 })
        let host = try ForwardingHost(
          lab.a, "--allow-forward", "localhost:8000", "--allow-forward", socket, "--allow-listen", "9000",
          "--allow-listen", "\(lab.a.home)/far.sock", "--signal", "ws://\(Lab.server):11985")
        let mine = "\(lab.b.home)/here.sock"
        let guest = try lab.b.startP2PFS([
          "forward", host.code, "-L", "8080:localhost:8000", "-L", "\(mine):\(socket)", "-R", "9000:localhost:8001",
          "-R\(lab.a.home)/far.sock:localhost:8001", "--signal", "ws://\(Lab.server):11985",
        ])
        _ = try guest.line(with: "Listening on 127.0.0.1:8080", seconds: 30)
        _ = try guest.line(with: "Listening on \(mine)", seconds: 5)
        #expect(guest.errors.contains("The other computer listens on localhost:9000, for localhost:8001 here."))
        #expect(guest.output.isEmpty)
        try lab.b.shell("curl -sSf -o got http://localhost:8080/file; cmp got ../a/www/file")
        try lab.a.shell("curl -sSf -o got http://127.0.0.1:9000/other; cmp got ../b/www/other")
        try lab.a.shell("curl -sSf --unix-socket far.sock -o got2 http://x/other; cmp got2 ../b/www/other")
        // Half-close: the echo ends when its input does, and what it says after that still comes.
        let talk = try lab.b.sockets("talk", mine, input: "www/other", output: "echoed")
        #expect(try talk.wait(seconds: 30).status == 0)
        try lab.b.shell("cmp echoed www/other")
        try lab.b.shell(
          "for i in {1..40}; do curl -sSf -o got$i http://localhost:8080/file & done; wait; for i in {1..40}; do cmp got$i got; done"
        )
        guest.signal(SIGINT)
        #expect(try guest.wait(seconds: 10).status == 130)
        #expect(access(mine, F_OK) != 0)
        #expect(eventually(within: 5) { !lab.a.isListening(port: 9000) && access("\(lab.a.home)/far.sock", F_OK) != 0 })
      }
    }

    @Test func `through the relay, too`() throws {
      try Lab.run(.symmetric, .symmetric) { lab in
        try lab.relay()
        try lab.signal(relay: "turn:\(Lab.server):3478")
        try lab.a.shell("mkdir www; head -c 2000000 /dev/urandom > www/file")
        try lab.a.serve(
          ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "www", "8000"], port: 8000)
        let host = try ForwardingHost(
          lab.a, "--allow-forward", "localhost:*", "--signal", "ws://\(Lab.server):11985")
        let guest = try lab.b.startP2PFS([
          "forward", host.code, "-L", "8080:localhost:8000", "--signal", "ws://\(Lab.server):11985",
        ])
        #expect(try guest.line(with: "Connected", seconds: 30).contains("relayed"))
        _ = try guest.line(with: "Listening on", seconds: 30)
        try lab.b.shell("curl -sSf -o got http://127.0.0.1:8080/file; cmp got ../a/www/file")
      }
    }

    @Test func `a router gets a new address in the middle of a transfer, which goes on`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        try lab.a.shell("mkdir www; head -c 30000000 /dev/urandom > www/file")
        try lab.a.serve(
          ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "www", "8000"], port: 8000)
        let host = try ForwardingHost(
          lab.a, "--allow-forward", "localhost:8000", "--signal", "ws://\(Lab.server):11985")
        let guest = try lab.b.startP2PFS([
          "forward", host.code, "-L", "8080:localhost:8000", "--signal", "ws://\(Lab.server):11985",
        ])
        _ = try guest.line(with: "Listening on", seconds: 30)
        let download = try lab.b.start(["curl", "-sSf", "-o", "got", "http://127.0.0.1:8080/file"])
        var status = stat()
        #expect(eventually(within: 20) { stat("\(lab.b.home)/got", &status) == 0 && status.st_size > 5_000_000 })
        try lab.lab("rebind", "a")
        let outcome = try download.wait(seconds: 90)
        #expect(outcome.status == 0, "\(outcome)")
        try lab.b.shell("cmp got ../a/www/file")
        #expect(guest.errors.contains("Connected again."))
      }
    }

    @Test func `the example of the manual: ports 10100 to write and 10200 to read`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        // nc(1), which the manual uses, is not everywhere.
        let reader = try lab.a.sockets("take", "10200", output: "received")
        #expect(eventually(within: 5) { lab.a.isListening(port: 10200) })
        let host = try ForwardingHost(
          lab.a, "--allow-forward", "localhost:10200", "--signal", "ws://\(Lab.server):11985")
        #expect(host.child.output.contains("-L 10200:localhost:10200"))
        let guest = try lab.b.startP2PFS([
          "forward", host.code, "-L", "10100:localhost:10200", "--signal", "ws://\(Lab.server):11985",
        ])
        _ = try guest.line(with: "for localhost:10200 on the other computer.", seconds: 30)
        try lab.b.shell("echo 'Hello, world!' > hello")
        #expect(try lab.b.sockets("talk", "10100", input: "hello", output: "nothing").wait(seconds: 20).status == 0)
        #expect(try reader.wait(seconds: 20).status == 0)
        #expect(contents(of: "\(lab.a.home)/received") == "Hello, world!\n")
      }
    }

    @Test func `what is not allowed, taken or wrong is said at once`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let host = try ForwardingHost(a, a.makeDirectory("export"), "--allow-forward", "localhost:5432")
        #expect(host.child.output.contains("p2pfs mount \(host.code)"))
        let target = try b.p2pfs("forward", host.code, "-L", "0:localhost:5433", seconds: 20)
        #expect(target.status == 5, "\(target)")
        #expect(target.errors.contains("p2pfs export --allow-forward localhost:5433"), "\(target)")
        let listen = try b.p2pfs("forward", host.code, "-R", "0:localhost:5433", seconds: 20)
        #expect(listen.status == 5 && listen.errors.contains("--allow-listen localhost:0"), "\(listen)")
        try b.echo(port: 10107)
        // Before anybody is met: there is no such room.
        let taken = try b.p2pfs(
          "forward", "123456-lusab-babad@127.0.0.1:1", "-L", "10107:localhost:5432", seconds: 10)
        #expect(taken.status == 1 && taken.errors.contains("127.0.0.1:10107"), "\(taken)")
        #expect(
          try b.p2pfs("forward", "123456-lusab-babad@127.0.0.1:1", "-L", "0:localhost:1", seconds: 10).status == 3)
        for arguments in [
          [host.code], [host.code, "-L", "nonsense"], [host.code, "-R", "1:2"], ["x", "-L", "0:h:1"],
        ] {
          let outcome = try b.startP2PFS(["forward"] + arguments).wait(seconds: 10)
          #expect(outcome.status == 2, "\(outcome)")
        }
        for option in [["--allow-forward", "nonsense"], ["--allow-listen", "x:y:z"], []] {
          #expect(try a.startP2PFS(["export"] + option).wait(seconds: 10).status == 2)
        }
        // Whoever only mounts is served as ever; where no files are shared that is said.
        let mounted = try b.mount(host.code)
        try b.unmount(mounted)
        let plain = try a.export(a.makeDirectory("plain"))
        #expect(try b.p2pfs("forward", plain.code, "-L", "0:localhost:1", seconds: 20).status == 5)
        let bare = try ForwardingHost(a, "--allow-forward", "localhost:1")
        let nothing = try b.p2pfs("mount", bare.code, b.makeDirectory("mnt"), seconds: 20)
        #expect(nothing.status == 4 && nothing.errors.contains("shares nothing"), "\(nothing)")
      }
    }

    @Test func `who comes first waits, if told to, and Ctrl-C meanwhile leaves nothing`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let signal = try a.startP2PFS(["signal", "--listen", "127.0.0.1:12990"])
        #expect(eventually(within: 10) { a.isListening(port: 12990) }, "\(signal.lines)")
        let server = ["--signal", "ws://127.0.0.1:12990"]
        let code = "735291-lusab-babad"
        let socket = "\(b.home)/here.sock"
        let arguments = ["forward", code, "-L", "\(socket):localhost:10111", "--wait"] + server
        let early = try b.startP2PFS(arguments)
        #expect(eventually(within: 10) { access(socket, F_OK) == 0 })
        early.signal(SIGINT)
        #expect(try early.wait(seconds: 10).status == 130)
        #expect(access(socket, F_OK) != 0)
        let guest = try b.startP2PFS(arguments)
        usleep(500_000)
        _ = try ForwardingHost(a, ["--allow-forward", "localhost:10111", "--code", code] + server)
        _ = try guest.line(with: "Listening on \(socket)", seconds: 20)
      }
    }

    @Test func `either side is killed: connections end, listeners go`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        try a.echo(port: 10108)
        let options = ["--allow-forward", "localhost:10108", "--allow-listen", "10109", "--timeout", "5"]
        let host = try ForwardingHost(a, options)
        let arguments = ["-L", "10110:localhost:10108", "-R", "10109:localhost:10108", "--timeout", "5"]
        let guest = try b.startP2PFS(["forward", host.code] + arguments)
        _ = try guest.line(with: "Listening on", seconds: 20)
        let open = try b.sockets("hold", "10110")
        let far = try a.sockets("hold", "10109")
        usleep(500_000)
        #expect(open.isRunning && far.isRunning && a.isListening(port: 10109))
        guest.stop()
        // Eight seconds of silence, then the time that was given.
        #expect(eventually(within: 20) { !open.isRunning && !far.isRunning && !a.isListening(port: 10109) })

        let other = try b.startP2PFS(["forward", host.code] + arguments)
        _ = try other.line(with: "Listening on", seconds: 20)
        let again = try b.sockets("hold", "10110")
        usleep(500_000)
        #expect(again.isRunning)
        host.child.stop()
        #expect(eventually(within: 20) { !again.isRunning })
        #expect(try b.run(["curl", "-sS", "http://127.0.0.1:10110/"], seconds: 10).status != 0)
        #expect(other.isRunning && b.isListening(port: 10110))
        // Started again it has the same code, and what was forwarded works again.
        let back = try ForwardingHost(a, options)
        #expect(back.code == host.code)
        _ = try other.line(with: "Connected again.", seconds: 30)
        try b.shell("echo again > again")
        #expect(try b.sockets("talk", "10110", input: "again", output: "echoed").wait(seconds: 10).status == 0)
        #expect(contents(of: "\(b.home)/echoed") == "again\n")
        #expect(eventually(within: 10) { a.isListening(port: 10109) })
        other.signal(SIGINT)
        #expect(try other.wait(seconds: 10).status == 130)
        #expect(eventually(within: 5) { !b.isListening(port: 10110) && !a.isListening(port: 10109) })
      }
    }
  }
}

/// A running `p2pfs export` that allows forwards.
private final class ForwardingHost {
  let child: Child

  convenience init(_ computer: Computer, _ options: String...) throws { try self.init(computer, options) }

  init(_ computer: Computer, _ options: [String]) throws {
    child = try computer.startP2PFS(["export"] + options)
    _ = try child.line(with: "p2pfs forward ", seconds: 20)
  }

  /// The code that it shows.
  var code: String {
    let words = child.output.split(whereSeparator: \.isWhitespace).map(String.init)
    return words.firstIndex(of: "forward").flatMap { words.dropFirst($0 + 1).first } ?? ""
  }
}

extension Computer {
  /// Starts a server, and waits until it listens.
  fileprivate func serve(_ arguments: [String], port: Int) throws {
    let child = try start(arguments)
    guard eventually(within: 10, { isListening(port: port) }) else { throw StageError("\(arguments): \(child.lines)") }
  }

  /// Starts a server that says what it hears.
  fileprivate func echo(port: Int) throws {
    let child = try sockets("echo", "\(port)")
    guard eventually(within: 10, { isListening(port: port) }) else { throw StageError("no echo: \(child.lines)") }
  }

  /// Starts something at a port of 127.0.0.1 or at a path: `echo` says what it hears, `take` writes the first connection
  /// down, `talk` says its input and writes down the answer, `hold` waits for the end of a connection.
  fileprivate func sockets(
    _ what: String, _ place: String, input: String = "/dev/null", output: String = "/dev/null"
  ) throws -> Child {
    let script = """
      import socket, sys, threading
      what, place, input, output = sys.argv[1:]
      unix = place.startswith('/')
      s = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
      address = place if unix else ('127.0.0.1', int(place))
      def copy(c, out):
          while d := c.recv(65536): out(d)
      def echo(c):
          copy(c, c.sendall); c.shutdown(1); c.close()
      if what in ('echo', 'take'):
          s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(address); s.listen()
          while what == 'echo':
              threading.Thread(target=echo, args=[s.accept()[0]], daemon=True).start()
          with open(output, 'wb') as f: copy(s.accept()[0], f.write)
      else:
          s.connect(address)
          def say():
              with open(input, 'rb') as f: s.sendall(f.read())
              s.shutdown(1)
          if what == 'talk': threading.Thread(target=say).start()
          with open(output, 'wb') as f: copy(s, f.write)
      """
    return try start(["python3", "-c", script, what, place, input, output])
  }
}
