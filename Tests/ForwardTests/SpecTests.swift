import P2PFSCore
import Rig
import Testing

@testable import P2PFSForward

/// The texts: specs, endpoints, rules and names of channels.
@Suite(.onThreads) struct SpecTests {
  @Test(arguments: [
    ("5432:localhost:5432", "localhost:5432", "localhost:5432"),
    ("10100:db.Example.ORG:10200", "localhost:10100", "db.example.org:10200"),
    ("192.168.1.5:80:host:8080", "192.168.1.5:80", "host:8080"),
    ("*:80:host:8080", "*:80", "host:8080"),
    (":80:host:8080", "*:80", "host:8080"),
    ("[::1]:80:[fe80::1%eth0]:8080", "[::1]:80", "[fe80::1%eth0]:8080"),
    ("0:localhost:1", "localhost:0", "localhost:1"),
    ("8080:/run/app.sock", "localhost:8080", "/run/app.sock"),
    ("127.0.0.1:8080:/run/app.sock", "127.0.0.1:8080", "/run/app.sock"),
    ("/tmp/here:localhost:80", "/tmp/here", "localhost:80"),
    ("/tmp/here:/run/there", "/tmp/here", "/run/there"),
    ("/tmp/a\\:b:/run/there", "/tmp/a:b", "/run/there"),
  ])
  func `a spec is read as ssh reads it`(_ text: String, _ listen: String, _ target: String) throws {
    let spec = try ForwardSpec(parsing: text)
    #expect(spec.listen.text == listen)
    #expect(spec.target.text == target)
  }

  @Test(arguments: [
    "", ":", "80", "80:host", "80:host:", "80:host:0", "80:host:65536", "x:host:80", "80:host:80:", "1:2:3:4:5",
    "80:::1:80", "[::1:80:host:80", "80:[host]:80", "80:ho st:80", "80:host:80\\", "/:host:80", "80:relative/path",
    "-1:host:80", "+1:host:80", "80:*:80", "80::80", "80:host\u{0}:80", "80:/a\u{1b}b", "80:höst:80",
    "80:host:80:/path", "80:\(String(repeating: "h", count: 200)):80", "80:/\(String(repeating: "p", count: 107))",
  ])
  func `what is no spec is refused`(_ text: String) {
    #expect(throws: ForwardSyntaxError.self) { try ForwardSpec(parsing: text) }
  }

  @Test func `a rule allows its text and nothing else`() throws {
    let policy = try ForwardPolicy(
      targets: ["LocalHost:5432", "db:*", "[::1]:80", "/run/app.sock"], listens: ["8080", "*:9090", "/tmp/s"])
    let allowed = ["localhost:5432", "db:1", "db:65535", "[::1]:80", "/run/app.sock"]
    for text in allowed {
      #expect(policy.allows(connectingTo: try Endpoint(parsing: text, for: .connecting)), "\(text)")
    }
    for text in [
      "localhost:5433", "localhost.:5432", "127.0.0.1:5432", "2130706433:5432", "0x7f000001:5432", "db.:1", "db2:1",
      "[::1]:81", "[0::1]:80", "/run/app.sock2", "/run/../run/app.sock", "/run//app.sock",
    ] {
      #expect(!policy.allows(connectingTo: try Endpoint(parsing: text, for: .connecting)), "\(text)")
    }
    for text in ["8080", "localhost:8080", "*:9090", "/tmp/s"] {
      #expect(policy.allows(listeningAt: try Endpoint(parsing: text, for: .listening)), "\(text)")
    }
    for text in ["0", "*:8080", "127.0.0.1:8080", "9090", "/tmp/s/", "/run/app.sock"] {
      #expect(!policy.allows(listeningAt: try Endpoint(parsing: text, for: .listening)), "\(text)")
    }
    #expect(try ForwardPolicy().isEmpty)
  }

  @Test func `paths that look the same and are not are told apart`() throws {
    let (composed, decomposed) = ("/run/caf\u{e9}", "/run/cafe\u{301}")
    let policy = try ForwardPolicy(targets: [composed, composed, "localhost:1"], listens: [composed, "1", "1"])
    #expect(policy.targets.count == 2 && policy.listens.count == 2, "each once")
    let (same, other) = (try Endpoint(path: composed), try Endpoint(path: decomposed))
    #expect(policy.allows(connectingTo: same) && !policy.allows(connectingTo: other))
    #expect(policy.allows(listeningAt: same) && !policy.allows(listeningAt: other))
    #expect(same != other && Set([same, other, same]).count == 2)
    #expect(ForwardName(parsing: "forward:connect:\(decomposed)") == .connect(other))
    #expect(ForwardName.connect(same) != .connect(other))
    #expect(try ForwardSpec(parsing: "1:/\u{301}x").target.text == "/\u{301}x", "a mark behind the slash")
  }

  @Test func `the examples of a policy are one command that works`() throws {
    let targets = [
      "localhost:80", "db:80", "db:*", "localhost:8080", "localhost:8081", "h:65535", "i:65535", "[::1]:5432",
      "/run/a/s.sock", "/run/b/s.sock", "/tmp/a:b\\c", "/run/" + String(repeating: "n", count: 102),
    ]
    let policy = try ForwardPolicy(
      targets: targets, listens: ["0", "9000", "*:9000", "/run/l"] + (1...9).map(String.init))
    let examples = policy.examples
    let local = try examples.filter { $0.option == "-L" }.map { try ForwardSpec(parsing: $0.spec) }
    let remote = try examples.filter { $0.option == "-R" }.map { try ForwardSpec(parsing: $0.spec) }
    #expect(local.count == targets.count && remote.count == Limits.Forward.listeners)
    #expect(Set(local.map(\.listen)).count == local.count)
    for spec in local { #expect(policy.allows(connectingTo: spec.target), "\(spec)") }
    for spec in remote { #expect(policy.allows(listeningAt: spec.listen), "\(spec)") }
    #expect(examples.prefix(3).map(\.spec) == ["8080:localhost:80", "8081:db:80", "8082:db:80"])
    #expect(try ForwardPolicy(targets: ["localhost:5432"]).examples.map(\.spec) == ["5432:localhost:5432"])
  }

  @Test func `names of channels come back as they were meant, and only in their one spelling`() throws {
    let target = try Endpoint(parsing: "db.example.org:5432", for: .connecting)
    let longest = try Endpoint(parsing: String(repeating: "h", count: 164) + ":65535", for: .listening)
    for name in [
      ForwardName.check(target), .connect(target), .listen(0, longest), .listen(255, longest), .accepted(7),
      .connect(try Endpoint(path: "/tmp/a:b")), .connect(try Endpoint(parsing: "[::1]:80", for: .connecting)),
    ] {
      #expect(name.text.utf8.count <= Limits.Channel.name)
      #expect(ForwardName(parsing: name.text) == name)
    }
    for text in HostileNames.all { #expect(ForwardName(parsing: text) == nil, "\(text.debugDescription)") }
  }

  @Test func `the state of a coupling ends each direction once`() {
    var state = CouplingState()
    #expect(state.mayRead(hasUnsent: false) && !state.mayRead(hasUnsent: true) && state.takesPieces)
    #expect(state.socketEnded(hasUnsent: true) == .nothing)
    #expect(!state.mayRead(hasUnsent: false))
    #expect(state.said() == .finish && state.said() == .nothing)
    #expect(state.peerEnded() == .flush && state.peerEnded() == .nothing)
    #expect(state.flushed() == .shutDown && state.flushed() == .nothing)
    #expect(state.socketClosed(hasUnsent: false, isTCP: true) == .nothing)

    var broken = CouplingState()
    #expect(broken.socketClosed(hasUnsent: false, isTCP: true) == .reset)
    var closed = CouplingState()
    #expect(closed.socketEnded(hasUnsent: false) == .finish)
    #expect(closed.socketClosed(hasUnsent: false, isTCP: false) == .nothing)
    #expect(!closed.takesPieces && closed.peerEnded() == .consumeEnd)
    var gone = CouplingState()
    #expect(gone.socketEnded(hasUnsent: true) == .nothing)
    #expect(gone.socketClosed(hasUnsent: true, isTCP: true) == .resetWhenTaken && gone.said() == .finish)
    var both = CouplingState()
    #expect(both.peerEnded() == .flush && both.flushed() == .shutDown)
    // SwiftNIO closes the socket at the second end, and says no more than that.
    #expect(both.socketClosed(hasUnsent: true, isTCP: true) == .nothing && both.said() == .finish)
  }
}

/// What a peer may call a channel that is none of ours.
enum HostileNames {
  static let all: [String] =
    [
      "", "forward", "forward:", "forward::", "forward:connect", "forward:connect:", "forward:connect:localhost",
      "forward:connect:localhost:", "forward:connect:localhost:0", "forward:connect:localhost:65536",
      "forward:connect:localhost:99999999999999999999", "forward:connect:localhost:-1", "forward:connect:localhost:080",
      "forward:connect:LOCALHOST:80", "forward:connect:localhost:80\u{0}", "forward:connect:local\u{0}host:80",
      "forward:connect:localhost:80 ", "forward:connect:\u{1b}[2J:80", "forward:connect:::1:80",
      "forward:connect:*:80", "forward:connect::80", "forward:connect:/", "forward:connect:relative",
      "forward:connect:/tmp/\u{0}x", "forward:connect:/tmp/\u{7f}", "forward:connect:/tmp/\u{fffd}",
      "forward:connect:/" + String(repeating: "p", count: 150), "forward:connect:" + String(repeating: "h", count: 180),
      "forward:listen:0", "forward:listen:256:localhost:80", "forward:listen:-1:localhost:80", "forward:listen::80",
      "forward:listen:0:80", "forward:listen:0:localhost:65536",
      "forward:listen:0:/" + String(repeating: "p", count: 120),
      "forward:listen:0x0:localhost:80", "forward:accepted:", "forward:accepted:256", "forward:accepted:1:2",
      "forward:accepted:٣", "forward:frobnicate:localhost:80", "Forward:connect:localhost:80",
      "forward:check:localhost:*", String(repeating: ":", count: 200), String(repeating: "\u{0}", count: 200),
      String(repeating: "\u{fffd}", count: 66), "forward:connect:" + String(repeating: "é", count: 90),
    ]
}
