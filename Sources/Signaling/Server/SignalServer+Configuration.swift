import Glibc
import P2PFSCore
package import Logging
import NIOSSL

extension SignalServer {
  /// How a server is set up. The default is that of `p2pfs signal` without options.
  package struct Configuration: Sendable {
    /// Which port to take.
    package enum Port: Sendable, Equatable {
      /// This one; 0 lets the kernel choose.
      case exactly(UInt16)
      /// The first free one from here on, `Limits.Signaling.ports` are tried; those that are spared after all others.
      case firstFree(from: UInt16, sparing: Set<UInt16> = [])

      /// In which order ports are tried.
      var candidates: [UInt16] {
        switch self {
        case .exactly(let port): return [port]
        case .firstFree(let first, let spared):
          let ports = (0..<UInt16(Limits.Signaling.ports)).map { first.addingReportingOverflow($0) }
            .filter { !$0.overflow }.map(\.partialValue)
          return ports.filter { !spared.contains($0) } + ports.filter(spared.contains)
        }
      }
    }

    /// The address to listen on; nil for any, IPv6 and IPv4.
    package var host: String?
    /// The port to listen on.
    package var port: Port = .exactly(ServerAddress.defaultPort)
    /// A PEM file with the certificate and those that vouch for it; with it the server speaks wss only.
    package var certificateFile: String?
    /// A PEM file with the certificate's private key.
    package var keyFile: String?
    /// Whether STUN is answered at the same port, and advertised.
    package var answersStun = true
    /// STUN servers to recommend besides.
    package var stunServers: [IceServer] = []
    /// TURN servers to recommend; each needs `turnSecret`.
    package var turnServers: [IceServer] = []
    /// The secret shared with the TURN servers (coturn's static-auth-secret).
    package var turnSecret: String?
    /// The `host[:port]` under which clients reach this server's STUN, where that is not what they say in Host.
    package var publicAddress: String?
    /// Whether X-Forwarded-For names the client: only behind a reverse proxy that sets it.
    package var trustsForwardedFor = false
    /// What the outside may do.
    package var bounds = SignalBounds()
    /// Where to log; neither payloads nor codes nor tokens ever are.
    package var logger = Logger(label: "p2pfs.signal")

    /// The configuration of `p2pfs signal` without options.
    package init() {}

    /// The server that an export starts by itself: any address, 11985 or the next free port.
    package static var embedded: Configuration {
      var configuration = Configuration()
      configuration.port = .firstFree(from: ServerAddress.defaultPort)
      return configuration
    }

    /// TLS 1.2 or later with the files given; nil for plain WebSocket.
    func tlsContext() throws(SignalServerError) -> NIOSSLContext? {
      guard let certificateFile, let keyFile else {
        guard certificateFile == nil, keyFile == nil else {
          throw .certificate("the certificate and its key are given together")
        }
        return nil
      }
      do {
        let chain = try read(certificateFile, "a certificate") { try NIOSSLCertificate.fromPEMFile($0) }
        let key = try read(keyFile, "a private key") { try NIOSSLPrivateKey(file: $0, format: .pem) }
        var tls = TLSConfiguration.makeServerConfiguration(
          certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        tls.minimumTLSVersion = .tlsv12
        return try NIOSSLContext(configuration: tls)
      } catch let error as SignalServerError {
        throw error
      } catch {
        throw .certificate("the key does not belong to the certificate, or OpenSSL does not take one of them")
      }
    }

    /// Reads a PEM file with `what`; says in words what is wrong with it.
    private func read<Result>(_ path: String, _ what: String, _ body: (String) throws -> Result) throws -> Result {
      guard path.withPath({ access($0, R_OK) }) == 0 else {
        throw SignalServerError.certificate("\(path.escaped): \(String(cString: strerror(errno)))")
      }
      do { return try withText(of: path, body) } catch {
        throw SignalServerError.certificate("\(path.escaped) is not a PEM file with \(what)")
      }
    }

    /// Lends a path for NIOSSL, which takes text, to a file whose name may be any bytes (`String.pathBytes`).
    private func withText<Result>(of path: String, _ body: (String) throws -> Result) rethrows -> Result {
      guard path.hasEscapedBytes else { return try body(path) }
      let file = path.withPath { open($0, O_RDONLY | O_CLOEXEC) }
      defer { close(file) }
      return try body("/proc/self/fd/\(file)")
    }
  }
}
