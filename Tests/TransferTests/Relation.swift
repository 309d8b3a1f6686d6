import P2PFSCore
import Glibc
import Rig
import P2PFSSession
import Synchronization
import SystemPackage
import P2PFSWire

@testable import P2PFSTransfer

/// Two sessions over a link in memory, and the channel of a transfer between them.
final class Relation: Sendable {
  let sending: Session
  let receiving: Session
  let links: (MemoryLink, MemoryLink)
  /// The two ends of the channel.
  let sender: SessionChannel
  let receiver: SessionChannel

  init() throws {
    let identity = [UInt8](repeating: 7, count: 16)
    sending = Session(.init(identity: identity, timeout: 30))
    receiving = Session(.init(identity: identity, timeout: 30))
    let accepted = Mutex<SessionChannel?>(nil)
    receiving.acceptChannels { channel in
      channel.accept()
      accepted.withLock { $0 = channel }
    }
    links = MemoryLink.pair()
    sending.connect(links.0)
    receiving.connect(links.1)
    sender = try sending.openChannel("transfer", keepsMessages: true)
    guard eventually({ accepted.withLock { $0 } != nil }), let channel = accepted.withLock({ $0 }) else {
      throw TestFailure("no channel")
    }
    receiver = channel
  }

  deinit {
    sending.end()
    receiving.end()
  }
}

struct TestFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Collects problems.
final class Problems: Sendable {
  private let all = Mutex<[TransferProblem]>([])
  func add(_ problem: TransferProblem) { all.withLock { $0.append(problem) } }
  var paths: [String] { all.withLock { $0.map { String(decoding: $0.path, as: UTF8.self) } }.sorted() }
  var reasons: String { all.withLock { $0.map(\.reason).joined(separator: "; ") } }
}

/// How both sides of a transfer ended.
struct Ending {
  let sender: Result<TransferSender.Summary, TransferFailure>
  let receiver: Result<TransferResult, TransferFailure>
  let sent = TransferProgress()
  let problems: (sender: Problems, receiver: Problems)

  var isWhole: Bool {
    guard case .success(let summary) = sender, case .success(let result) = receiver else { return false }
    return summary.problems == 0 && result.problems == 0 && summary.result == result
  }
}

/// Sends `paths` into `directory`.
/// - Parameter meanwhile: called with the ends of the channel once both sides run.
func transfer(
  _ paths: [String], into directory: String, overwrites: Bool = false, progress: TransferProgress = TransferProgress(),
  decide: @escaping @Sendable (TransferMessage.Offer, [UInt8]) -> TransferReceiver.Decision = { _, _ in .accept },
  meanwhile: @escaping @Sendable (Relation) -> Void = { _ in }
) async throws -> Ending {
  let relation = try Relation()
  let source = try TransferSource(paths)
  let problems = (sender: Problems(), receiver: Problems())
  let sender = TransferSender(
    source, TransferCount(of: source), over: relation.sender, claim: Array("a@b".utf8), progress: progress
  ) {
    problems.sender.add($0)
  }
  let receiver = TransferReceiver(
    into: try TransferTarget(directory, overwrites: overwrites), over: relation.receiver, claim: Array("c@d".utf8),
    progress: TransferProgress(), decide: decide, report: { problems.receiver.add($0) })
  let sending = Task { () async -> Result<TransferSender.Summary, TransferFailure> in
    do throws(TransferFailure) { return .success(try await sender.run()) } catch { return .failure(error) }
  }
  let receiving = Task { () async -> Result<TransferResult, TransferFailure> in
    do throws(TransferFailure) { return .success(try await receiver.run()) } catch { return .failure(error) }
  }
  // A test that hangs ends by itself.
  let watch = Task {
    try? await Task.sleep(for: .seconds(120))
    if !Task.isCancelled { relation.sender.reset(.failed, "the test took too long") }
  }
  // It blocks, and the threads of tasks are few.
  await FileThread.run { meanwhile(relation) }
  let ending = Ending(sender: await sending.value, receiver: await receiving.value, problems: problems)
  watch.cancel()
  withExtendedLifetime(relation) {}
  return ending
}

/// One side of a transfer whose messages a test makes by hand.
struct Script {
  let relation: Relation
  let channel: BlockingChannel

  init(_ relation: Relation, asSender: Bool) {
    self.relation = relation
    channel = BlockingChannel(asSender ? relation.sender : relation.receiver)
  }

  func say(_ messages: TransferMessage...) throws { for message in messages { try channel.send(message.piece) } }
  /// What a sender says first, and the receiver's consent.
  func begin(_ offer: TransferMessage.Offer) throws {
    try say(.hello(.init(sends: true, claim: Array("\u{1b}[2Jroot".utf8))), .offer(offer))
    guard case .hello = try hear(), case .accept = try hear() else { throw TestFailure("not accepted") }
  }

  func say(raw bytes: [UInt8]) throws {
    let piece = SessionChannel.piece(capacity: bytes.count)
    bytes.withUnsafeBytes { piece.write($0) }
    try channel.send(piece)
  }

  func hear() throws -> TransferMessage {
    guard let piece = try channel.next() else { throw TestFailure("the end") }
    defer { channel.channel.consumed(piece) }
    return try TransferMessage(parsing: piece)
  }

  /// Hears until the channel is over; the last messages, or why it failed.
  func hearAll() -> [TransferMessage] {
    var all: [TransferMessage] = []
    while let message = try? hear() { all.append(message) }
    return all
  }
}

/// Runs a shell script that must succeed; returns what it printed.
@discardableResult
func shell(_ script: String) throws -> String {
  guard let pipe = popen("set -eu; exec 2>&1; \(script)", "r") else { throw TestFailure("no shell") }
  var output: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 4096)
  while true {
    let count = fread(&buffer, 1, buffer.count, pipe)
    guard count > 0 else { break }
    output += buffer[..<count]
  }
  let text = String(decoding: output, as: UTF8.self)
  guard pclose(pipe) == 0 else { throw TestFailure("\(script)\n\(text)") }
  return text
}
