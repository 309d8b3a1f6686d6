import CP2PFSLinux
import Rig
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
          "forward", "-v", host.code, "-L", "8080:localhost:8000", "--signal", "ws://\(Lab.server):11985",
        ])
        _ = try guest.line(with: "Listening on", seconds: 30)
        let download = try lab.b.start(["curl", "-sSf", "-o", "got", "http://127.0.0.1:8080/file"])
        var status = stat()
        #expect(eventually(within: 20) { stat("\(lab.b.home)/got", &status) == 0 && status.st_size > 5_000_000 })
        try lab.lab("rebind", "a")
        let outcome = try download.wait(seconds: 90)
        #expect(outcome.status == 0, "\(outcome)")
        try lab.b.shell("cmp got ../a/www/file")
        #expect(guest.errors.contains("connected again"))
        // The new connection stands before the old one is given up: the user need not hear of it.
        #expect(!guest.errors.contains("The connection is lost"))
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
          "forward", "-N", host.code, "-L", "10100:localhost:10200", "--signal", "ws://\(Lab.server):11985",
        ])
        _ = try guest.line(with: "for localhost:10200 on the other computer.", seconds: 30)
        try lab.b.shell("echo 'Hello, world!' > hello")
        #expect(try lab.b.sockets("talk", "10100", input: "hello", output: "nothing").wait(seconds: 20).status == 0)
        #expect(try reader.wait(seconds: 20).status == 0)
        #expect(contents(of: "\(lab.a.home)/received") == "Hello, world!\n")
        guest.signal(SIGTERM)
        #expect(try guest.wait(seconds: 10).status == 0)
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
        let port = freePort()
        try b.echo(port: port)
        // Before anybody is met: there is no such room.
        let taken = try b.p2pfs(
          "forward", "123456-lusab-babad@127.0.0.1:1", "-L", "\(port):localhost:5432", seconds: 10)
        #expect(taken.status == 1 && taken.errors.contains("127.0.0.1:\(port)"), "\(taken)")
        #expect(
          try b.p2pfs("forward", "123456-lusab-babad@127.0.0.1:1", "-L", "0:localhost:1", seconds: 10).status == 3)
        for arguments in [
          [host.code], [host.code, "-L", "nonsense"], [host.code, "-R", "1:2"], ["x", "-L", "0:h:1"],
          [host.code, "-L", "\(port):h:1", "-L", "localhost:\(port):h:2"], [host.code, "-D", "1080", "-L", "0:h:1"],
          [host.code, "-g", "-L", "0:h:1"],
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
        let (port, target, local) = (freePort(), freePort(), freePort())
        let signal = try a.startP2PFS(["signal", "--listen", "127.0.0.1:\(port)"])
        #expect(eventually(within: 10) { a.isListening(port: port) }, "\(signal.lines)")
        try a.echo(port: target)
        let server = ["--signal", "ws://127.0.0.1:\(port)"]
        let code = "735291-lusab-babad"
        let socket = "\(b.home)/here.sock"
        let listens = ["-L", "\(socket):localhost:\(target)", "-L", "\(local):localhost:\(target)"]
        let arguments = ["forward", code, "--wait"] + listens + server
        let early = try b.startP2PFS(arguments)
        #expect(eventually(within: 10) { access(socket, F_OK) == 0 && b.isListening(port: local) })
        // One that waits has what it waits for.
        for listen in [socket, "\(local)"] {
          let second = try b.startP2PFS(["forward", code, "-L", "\(listen):localhost:1", "--wait"] + server)
          let outcome = try second.wait(seconds: 10)
          #expect(outcome.status == 1 && outcome.errors.contains("Address already in use"), "\(outcome)")
        }
        early.signal(SIGINT)
        #expect(try early.wait(seconds: 10).status == 130)
        #expect(access(socket, F_OK) != 0)
        let guest = try b.startP2PFS(arguments)
        usleep(500_000)
        // Whoever comes too early is served when it can be.
        try b.shell("echo early > early")
        let client = try b.sockets("talk", socket, input: "early", output: "echoed")
        _ = try ForwardingHost(a, ["--allow-forward", "localhost:\(target)", "--code", code] + server)
        _ = try guest.line(with: "Listening on \(socket)", seconds: 20)
        #expect(try client.wait(seconds: 10).status == 0)
        #expect(contents(of: "\(b.home)/echoed") == "early\n")
      }
    }

    @Test func `either side is killed: connections end, listeners go`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let (port, target, near, far) = (freePort(), freePort(), freePort(), freePort())
        // Not the export's own server: somebody else may take its port while it is away.
        let signal = try a.startP2PFS(["signal", "--listen", "127.0.0.1:\(port)"])
        #expect(eventually(within: 10) { a.isListening(port: port) }, "\(signal.lines)")
        try a.echo(port: target)
        let options = [
          "--allow-forward", "localhost:\(target)", "--allow-listen", "\(far)", "--timeout", "5", "--signal",
          "ws://127.0.0.1:\(port)",
        ]
        let host = try ForwardingHost(a, options)
        let arguments = [
          "-L", "\(near):localhost:\(target)", "-R", "\(far):localhost:\(target)", "--timeout", "5",
        ]
        let guest = try b.startP2PFS(["forward", host.code] + arguments)
        _ = try guest.line(with: "Listening on", seconds: 20)
        let open = try b.sockets("hold", "\(near)")
        let other = try a.sockets("hold", "\(far)")
        usleep(500_000)
        #expect(open.isRunning && other.isRunning && a.isListening(port: far))
        guest.stop()
        // Eight seconds of silence, then the time that was given.
        #expect(eventually(within: 20) { !open.isRunning && !other.isRunning && !a.isListening(port: far) })

        // One that is killed and started again at once gets what it had, though the other side has not noticed yet.
        let killed = try b.startP2PFS(["forward", host.code] + arguments)
        _ = try killed.line(with: "Listening on", seconds: 20)
        killed.stop()
        let last = try b.startP2PFS(["forward", host.code] + arguments)
        _ = try last.line(with: "The other computer listens on localhost:\(far)", seconds: 20)
        #expect(last.errors.contains("waiting for it"))
        _ = try last.line(with: "Listening on", seconds: 5)
        let again = try b.sockets("hold", "\(near)")
        usleep(500_000)
        #expect(again.isRunning)
        host.child.stop()
        #expect(eventually(within: 20) { !again.isRunning })
        #expect(try b.run(["curl", "-sS", "http://127.0.0.1:\(near)/"], seconds: 10).status != 0)
        #expect(last.isRunning && b.isListening(port: near))
        // Started again it has the same code, and what was forwarded works again.
        let back = try ForwardingHost(a, options)
        #expect(back.code == host.code)
        _ = try last.line(with: "Connected again.", seconds: 30)
        try b.shell("echo again > again")
        #expect(try b.sockets("talk", "\(near)", input: "again", output: "echoed").wait(seconds: 10).status == 0)
        #expect(contents(of: "\(b.home)/echoed") == "again\n")
        #expect(eventually(within: 10) { a.isListening(port: far) })
        last.signal(SIGINT)
        #expect(try last.wait(seconds: 10).status == 130)
        #expect(eventually(within: 5) { !b.isListening(port: near) && !a.isListening(port: far) })
      }
    }

    @Test func `out of descriptors it waits without work, and goes on when there are some`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let target = freePort()
        try a.echo(port: target)
        let host = try ForwardingHost(a, "--allow-forward", "localhost:\(target)")
        let socket = "\(b.home)/here.sock"
        let guest = try b.start([
          "bash", "-c", "ulimit -n 64; exec \"$@\"", "bash", Stage.program, "forward", host.code, "-v", "-L",
          "\(socket):localhost:\(target)",
        ])
        _ = try guest.line(with: "Listening on \(socket)", seconds: 20)
        let crowd = try b.sockets("crowd", socket)
        _ = try guest.line(with: "cannot accept connections for now", seconds: 20)
        usleep(500_000)
        let before = processorSeconds(of: guest.pid)
        sleep(2)
        let used = processorSeconds(of: guest.pid) - before
        #expect(used < 0.5, "\(used) s of 2 s")
        crowd.stop()
        try b.shell("echo again > again")
        #expect(try b.sockets("talk", socket, input: "again", output: "echoed").wait(seconds: 20).status == 0)
        #expect(contents(of: "\(b.home)/echoed") == "again\n")
      }
    }
  }
}

/// A port of 127.0.0.1 that is free now, for a program that must be told one.
private func freePort() -> Int {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  return withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
      guard bind(descriptor, raw, length) == 0, getsockname(descriptor, raw, &length) == 0 else { return 0 }
      return Int(UInt16(bigEndian: pointer.pointee.sin_port))
    }
  }
}

/// The time that a process has had of a processor.
private func processorSeconds(of pid: pid_t) -> Double {
  // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
  let status = contents(of: "/proc/\(pid)/stat")
  let fields = status.split(separator: ")").last?.split(separator: " ") ?? []
  guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return .nan }
  return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
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
  /// down, `talk` says its input and writes down the answer, `hold` waits for the end of a connection, `crowd` makes a
  /// hundred and holds them.
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
      elif what == 'crowd':
          all = [socket.socket(s.family) for _ in range(100)]
          for c in all: c.connect(address)
          threading.Event().wait()
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
