import P2PFSMeeting
import P2PFSCore
import P2PFSFUSE
import Glibc
import P2PFSPairing
import Rig
import P2PFSSession
import P2PFSSignaling
import SystemPackage
import Testing
import P2PFSTransport

@testable import p2pfs

/// What the user reads.
@Suite struct MessageTests {
  private let server = ServerAddress(scheme: .wss, host: "meet.example.org")

  /// Each starts with what failed, ends as a sentence, and has no name of a Swift type, a case or a library in it.
  private func expectPlain(_ failure: Failure, at location: SourceLocation = #_sourceLocation) {
    for word in ["Error", "failedTo", "NIO", "Optional", "SSL", "(\"", "::", "of no use", ".."] {
      #expect(!failure.message.contains(word), "\(failure.message)", sourceLocation: location)
    }
  }

  @Test(
    arguments: [
      (.unreachable("Connection refused"), .noSignaling, "Connection refused"), (.timedOut, .noSignaling, "not answer"),
      (.notASignalingServer(SignalingError.noTLS), .noSignaling, "write ws://meet.example.org"),
      (.notASignalingServer("HTTP status 404 Not Found"), .noSignaling, "404"),
      (.certificate("nobody this machine trusts vouches for it"), .noSignaling, "SSL_CERT_FILE"),
      (.certificateName("meet.example.org"), .noSignaling, "not for meet.example.org"),
      (.roomOccupied, .failed, "Choose another code"), (.nobodyThere, .noPeer, "--wait"),
      (.refused("There are too many rooms."), .failed, "too many rooms"),
      (.violation("a bad frame"), .noSignaling, "bad frame"),
      (.closed("The room is full."), .noSignaling, "full"),
    ] as [(SignalingError, p2pfs.ExitStatus, String)])
  func `what is wrong with a signaling server is said with what to do`(
    _ error: SignalingError, _ status: p2pfs.ExitStatus, _ word: String
  ) {
    let failure = Failure(error, server: server)
    #expect(failure.status == status && failure.message.contains(word), "\(failure.message)")
    #expect(failure.message.contains("meet.example.org"))
    if !failure.message.contains("SSL_CERT_FILE") { expectPlain(failure) }
  }

  @Test func `numbers have their nouns`() {
    #expect(Failure(.wrongCode(attemptsLeft: 1), server: server).message.contains(" 1 try is left."))
    #expect(Failure(.wrongCode(attemptsLeft: 9), server: server).message.contains(" 9 tries are left."))
    #expect(Failure(.wrongCode(attemptsLeft: 0), server: server).message.contains("That was the last try"))
    #expect(CodePause.wrongCode(left: 1, isGiven: false).hasSuffix("code. 1 more wrong try, and the code is replaced."))
    #expect(CodePause.wrongCode(left: 9, isGiven: false).contains(" 9 more wrong tries, and"))
    #expect(
      CodePause.wrongCode(left: 0, isGiven: true).hasSuffix("That was the last try: this one cannot be used any more."))
    #expect(counted(0, "file", "files") == "0 files")
  }

  @Test func `a failed meeting is said in plain words`() {
    let errors: [MeetingError] = [
      .codeSpent, .tampered("the seal is broken"), .refused("it has 64 guests, the most it takes"), .abandoned,
      .brokenOff(isConfirmed: true), .brokenOff(isConfirmed: false), .transport(.noPath(tried: "192.0.2.1")),
      .transport(.fingerprintMismatch), .transport(.handshakeTimeout), .transport(.pathLost),
    ]
    for error in errors { expectPlain(Failure(error, server: server)) }
    #expect(Failure(.transport(.fingerprintMismatch), server: server).message.contains("man-in-the-middle"))
    #expect(!Failure(.tampered("\u{1b}[2J"), server: server).message.contains("\u{1b}"))
  }

  @Test func `a place that cannot be mounted on is named once`() throws {
    let point = try MountPoint("/tmp/nowhere")
    let error = MountError(
      .mountpoint(.permissionDenied), "cannot mount on /tmp/nowhere: you may not write to that directory")
    #expect(Failure(mounting: error, on: point).message == error.description)
    let other = Failure(mounting: Errno.noMemory, on: point)
    #expect(other.message == "cannot mount on /tmp/nowhere: Cannot allocate memory" && other.status == .notMounted)
  }

  @Test func `a folder of the share that is none is said in words`() {
    #expect(Failure(root: .notDirectory, path: "a/f").message.hasPrefix("\":/a/f\" is a file on the other computer"))
    #expect(
      Failure(root: .noSuchFileOrDirectory, path: "x\u{1b}").message.contains("there is no folder \":/x\\u{1b}\""))
    #expect(Failure(root: .permissionDenied, path: "x").message.hasSuffix("Permission denied"))
  }

  @Test func `what is mounted on a file or nowhere is said in words`() throws {
    let place = try TemporaryDirectory()
    let file = place.path.appending("file").string
    close(open(file, O_CREAT | O_WRONLY, 0o600))
    let onFile = try #require(throws: Failure.self) { try MountPoint(file).checkIsFree() }
    #expect(onFile.status == .notMounted && onFile.message == "\(file) is not a folder")
    let nowhere = try #require(throws: Failure.self) { try MountPoint(file + "x").checkIsFree() }
    #expect(nowhere.message.contains("No such file or directory. Make the folder first: mkdir "))
  }

  @Test func `a mount that is busy is said as umount says it, with who uses it`() throws {
    let point = try MountPoint("/tmp/nowhere")
    #expect(
      UmountCommand.busy(point, users: "bash (7)").message
        == "cannot unmount /tmp/nowhere: target is busy, used by bash (7). End that first, or detach it with --lazy.")
    #expect(UmountCommand.busy(point, users: "").message.contains("target is busy. End"))
  }

  @Test func `a certificate that is none is said in words`() async throws {
    let place = try TemporaryDirectory()
    let file = place.path.appending("file.pem").string
    close(open(file, O_CREAT | O_WRONLY, 0o600))
    for (path, why) in [(file, "is not a PEM file with a certificate"), (file + "x", "No such file or directory")] {
      var configuration = SignalServer.Configuration()
      configuration.certificateFile = path
      configuration.keyFile = path
      let error = try await #require(throws: SignalServerError.self) { try await SignalServer.start(configuration) }
      let failure = Failure(error, listen: nil)
      #expect(failure.message.contains(why), "\(failure.message)")
    }
    var configuration = SignalServer.Configuration()
    configuration.host = "nosuch.invalid"
    let error = try await #require(throws: SignalServerError.self) { try await SignalServer.start(configuration) }
    #expect(
      Failure(error, listen: "nosuch.invalid:1").message.hasPrefix(
        "the signaling server cannot listen on nosuch.invalid:1: "))
    expectPlain(Failure(error, listen: nil))
  }

  @Test func `a share that cannot be had says why`() throws {
    let place = try TemporaryDirectory()
    let file = place.path.appending("file").string
    close(open(file, O_CREAT | O_WRONLY, 0o600))
    let onFile = try #require(throws: Failure.self) { _ = try openShare(file, isReadOnly: true, oneFileSystem: false) }
    #expect(onFile.message.contains("it is not a folder") && onFile.message.contains("p2pfs send"))
    let nowhere = try #require(throws: Failure.self) {
      _ = try openShare(file + "x", isReadOnly: true, oneFileSystem: false)
    }
    #expect(nowhere.message.hasSuffix("No such file or directory"))
  }

  @Test func `the source of a mount names the peer and the path, and no more than fits`() {
    #expect(MountCommand.shownSource(address: "192.0.2.7", path: "photos/2024") == "p2pfs:192.0.2.7:/photos/2024")
    #expect(MountCommand.shownSource(address: "2001:db8::1", path: "") == "p2pfs:[2001:db8::1]:/")
    #expect(MountCommand.shownSource(address: nil, path: "a b,c\n") == "p2pfs:/a b,c\\u{a}")
    let long = MountCommand.shownSource(address: nil, path: String(repeating: "ä", count: 5000))
    #expect(long.unicodeScalars.count == Limits.Mount.source)
  }

  @Test func `a code is asked for again without its secret`() throws {
    for text in ["x", "482153-gutih", "alice", "482153-gutih-tugax", "482153 gutih tugad:/x"] {
      let failure = try #require(throws: Failure.self) { _ = try GivenCode(text) }
      #expect(failure.status == .usage && !failure.message.contains("gutih"), "\(failure.message)")
    }
    #expect(try GivenCode(" “482153 – LUSAB babad”\n").code == Code(parsing: "482153-lusab-babad"))
  }
}
