import P2PFSCore
import Glibc
import Rig
import Testing

@testable import P2PFSSignaling

/// wss with certificates that the openssl command makes.
@Suite(.onThreads) struct TLSTests {
  private let client = SignalClient()

  /// A certificate for `name`, made by itself, in a directory of its own.
  private func certificate(_ name: String) throws -> (certificate: String, key: String) {
    var template = Array("/tmp/p2pfs-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Overdue() }
    let directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    let files = ("\(directory)/certificate.pem", "\(directory)/key.pem")
    let command =
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test "
      + "-addext subjectAltName=\(name) -keyout \(files.1) -out \(files.0) 2>/dev/null"
    guard system(command) == 0 else { throw Overdue() }
    return files
  }

  private func remove(_ files: (certificate: String, key: String)) {
    unlink(files.certificate)
    unlink(files.key)
    rmdir(String(files.key.dropLast("/key.pem".count)))
  }

  @Test("Over TLS a server is trusted for its name only, and only if somebody vouches for it")
  func names() async throws {
    let files = try certificate("DNS:localhost")
    defer { remove(files) }
    let (server, byAddress) = try await startServer {
      $0.certificateFile = files.certificate
      $0.keyFile = files.key
    }
    let byName = ServerAddress(scheme: .wss, host: "localhost", port: server.port)
    let trusting = SignalClient(certificateAuthorities: files.certificate)
    let host = try await trusting.host(byName, room: "482153", token: .random())
    let guest = try await trusting.join(byName, room: "482153")
    let id = try await host.nextGuest()
    host.send([1], to: id)
    #expect(try await guest.events.next() == .message([1]))
    await #expect(throws: SignalingError.certificateName("127.0.0.1")) {
      _ = try await trusting.join(byAddress, room: "482153")
    }
    await #expect(throws: SignalingError.certificate("nobody this machine trusts vouches for it")) {
      _ = try await client.join(byName, room: "482153")
    }
    await #expect(throws: SignalingError.self) {
      _ = try await client.join(ServerAddress(scheme: .ws, host: "localhost", port: server.port), room: "482153")
    }
    await server.shutdown()
  }

  @Test("A certificate for an address is good for that address")
  func addresses() async throws {
    let files = try certificate("IP:127.0.0.1")
    defer { remove(files) }
    let (server, address) = try await startServer {
      $0.certificateFile = files.certificate
      $0.keyFile = files.key
    }
    let trusting = SignalClient(certificateAuthorities: files.certificate)
    let host = try await trusting.host(address, room: "482153", token: .random())
    host.close()
    await #expect(throws: SignalingError.certificateName("localhost")) {
      _ = try await trusting.join(ServerAddress(scheme: .wss, host: "localhost", port: server.port), room: "482153")
    }
    await server.shutdown()
  }

  @Test("A server without TLS is told apart from one with a bad certificate")
  func plainServer() async throws {
    let (server, address) = try await startServer()
    await #expect(throws: SignalingError.notASignalingServer("it does not speak TLS")) {
      _ = try await client.join(ServerAddress(scheme: .wss, host: address.host, port: address.port), room: "482153")
    }
    await server.shutdown()
  }

  @Test("Without a scheme a server that has a certificate, good or bad, is asked by TLS alone; others in clear")
  func assumedScheme() async throws {
    let files = try certificate("IP:127.0.0.1")
    defer { remove(files) }
    let (server, address) = try await startServer {
      $0.certificateFile = files.certificate
      $0.keyFile = files.key
    }
    let assumed = try ServerAddress(parsing: "127.0.0.1:\(address.port)")
    #expect(assumed.scheme == .ws && assumed.isSchemeAssumed)
    let host = try await SignalClient(certificateAuthorities: files.certificate)
      .host(assumed, room: "482153", token: .random())
    host.close()
    await #expect(throws: SignalingError.certificate("nobody this machine trusts vouches for it")) {
      _ = try await client.join(assumed, room: "482153")
    }
    await server.shutdown()
    let (plain, other) = try await startServer()
    let open = try await client.host(
      ServerAddress(parsing: "127.0.0.1:\(other.port)"), room: "482153", token: .random())
    open.close()
    await plain.shutdown()
    // An address in the Internet, or a name, is spoken to in clear only if somebody has typed that.
    for text in ["203.0.113.5", "[2001:db8::5]:99", "meet.example.org"] {
      #expect(try ServerAddress(parsing: text).scheme == .wss)
    }
    #expect(try !ServerAddress(parsing: "ws://203.0.113.5").isSchemeAssumed)
  }

  @Test("Files that are no certificate or key keep the server from starting")
  func badFiles() async throws {
    for change in [
      { $0.certificateFile = "/dev/null" },
      {
        $0.certificateFile = "/nonexistent"
        $0.keyFile = "/nonexistent"
      },
    ] as [(inout SignalServer.Configuration) -> Void] {
      await #expect(throws: SignalServerError.self) { _ = try await startServer(change) }
    }
  }
}
