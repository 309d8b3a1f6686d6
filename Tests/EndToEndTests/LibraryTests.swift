import Glibc
import Testing

extension EndToEnd {
  /// The examples of the library, as real programs behind the two NATs of the lab.
  @Suite struct Library {
    private let server = "ws://\(Lab.server):11985"

    /// The code in what a program has said.
    private func code(of child: Child, after word: String) throws -> String {
      let line = try child.line(with: "    \(word) ", seconds: 20)
      let words = line.split(separator: " ").map(String.init)
      guard words.count > 1 else { throw StageError("no code in “\(line)”") }
      return words[1]
    }

    /// A program that reads lines from a FIFO, which the test holds open.
    private final class Talker {
      let child: Child
      private let descriptor: Int32

      init(_ computer: Computer, _ arguments: [String], input: String = "input") throws {
        let fifo = "\(computer.home)/\(input)"
        mkfifo(fifo, 0o600)
        // Before the program, which would wait for a writer.
        descriptor = open(fifo, O_RDWR | O_CLOEXEC)
        child = try computer.start(
          ["bash", "-c", "exec \"$@\" < \(input)", "bash", "\(Stage.products)/\(arguments[0])"] + arguments.dropFirst())
      }
      deinit { close(descriptor) }

      func say(_ line: String) { _ = (line + "\n").withCString { write(descriptor, $0, strlen($0)) } }
      /// The program finds the end: it has its own descriptor, and no writer is left.
      func end() {
        let nothing = open("/dev/null", O_RDONLY | O_CLOEXEC)
        dup2(nothing, descriptor)
        close(nothing)
      }
    }

    @Test func `echo between two NATs: arguments, lines of input, and Ctrl-C`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        let host = try lab.a.start(["\(Stage.products)/echo-server", server])
        let code = try code(of: host, after: "echo-client")
        #expect(code.hasSuffix("@" + server))
        let client = try lab.b.run(["\(Stage.products)/echo-client", code, "Hello,", "world"], seconds: 30)
        #expect(client.status == 0, "\(client)")
        #expect(client.output.contains("Hello, after ") && client.output.contains("world after "), "\(client)")
        let lines = try lab.b.shell(
          "printf 'one\\ntwo\\n' | \"$P/echo-client\" \"$C\"", ["P": Stage.products, "C": code])
        #expect(lines.split(separator: "\n").count == 2, "\(lines)")
        let wrong = try lab.b.run(["\(Stage.products)/echo-client", "hello"], seconds: 10)
        #expect(wrong.status == 1 && wrong.errors.hasPrefix("echo-client: "), "\(wrong)")
        let talker = try Talker(lab.b, ["echo-client", code])
        talker.say("still here")
        _ = try talker.child.line(with: "still here after", seconds: 20)
        host.signal(SIGINT)
        #expect(try host.wait(seconds: 15).status == 0)
        talker.say("anybody?")
        let outcome = try talker.child.wait(seconds: 20)
        #expect(outcome.status == 0 || outcome.errors.contains("echo-client: "), "\(outcome)")
      }
    }

    @Test func `chat between two NATs: lines both ways, harmless on a terminal, until one ends`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        let host = try Talker(lab.a, ["chat", "@" + server])
        let code = try code(of: host.child, after: "chat")
        let guest = try Talker(lab.b, ["chat", code])
        _ = try guest.child.line(with: "Connected", seconds: 30)
        host.say("hello \u{1b}[31mred")
        guest.say("good day")
        #expect(try guest.child.line(with: "> hello", seconds: 10) == "> hello \u{FFFD}[31mred")
        _ = try host.child.line(with: "> good day", seconds: 10)
        guest.end()
        #expect(try guest.child.wait(seconds: 20).status == 0)
        #expect(try host.child.wait(seconds: 20).status == 0)
      }
    }

    @Test func `either side of a chat is killed: the other ends, in bounded time`() throws {
      try Lab.run(.cone, .cone) { lab in
        try lab.signal()
        // Both at once, each with a room of its own, since giving up takes its time.
        let talks = try (0..<2).map { number in
          let host = try Talker(lab.a, ["chat", "@" + server], input: "input\(number)")
          let guest = try Talker(lab.b, ["chat", try code(of: host.child, after: "chat")], input: "input\(number)")
          _ = try guest.child.line(with: "Connected", seconds: 30)
          guest.say("hello")
          _ = try host.child.line(with: "> hello", seconds: 10)
          return (killed: number == 0 ? host : guest, other: number == 0 ? guest : host)
        }
        for talk in talks { talk.killed.child.stop() }
        for talk in talks {
          // Noticed after eight seconds, given up after thirty.
          let outcome = try talk.other.child.wait(seconds: 60)
          #expect(outcome.status == 1 && outcome.errors.contains("chat: "), "\(outcome)")
        }
      }
    }

    @Test func `a guest that says nothing keeps nobody from a chat, and a line too long is not the last`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let host = try Talker(a, ["chat"])
        let code = try code(of: host.child, after: "chat")
        // It is met first, and opens no channel.
        let silent = try b.start(["\(Stage.products)/hostile-peer", "silence", code])
        sleep(3)
        let guest = try Talker(b, ["chat", code])
        guest.say("hello")
        _ = try host.child.line(with: "> hello", seconds: 30)
        guest.say(String(repeating: "x", count: 70_000))
        _ = try guest.child.line(with: "Not sent: the message is too long", seconds: 10)
        guest.say("short")
        _ = try host.child.line(with: "> short", seconds: 10)
        guest.end()
        #expect(try guest.child.wait(seconds: 20).status == 0)
        #expect(try host.child.wait(seconds: 20).status == 0)
        silent.stop()
      }
    }

    @Test func `Ctrl-C in a chat: the other side ends too`() throws {
      try Stage.run { stage in
        let (a, b) = (try stage.computer("a"), try stage.computer("b"))
        let host = try Talker(a, ["chat"])
        let guest = try Talker(b, ["chat", try code(of: host.child, after: "chat")])
        // When its line is there it has made its preparations.
        guest.say("hello")
        _ = try host.child.line(with: "> hello", seconds: 30)
        guest.child.signal(SIGINT)
        let (left, other) = (try guest.child.wait(seconds: 15), try host.child.wait(seconds: 20))
        #expect(left.status == 0, "\(left)")
        #expect(other.status == 0, "\(other)")
      }
    }
  }
}
