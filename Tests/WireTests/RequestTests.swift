import P2PFSCore
import SystemPackage
import Testing
import P2PFSWire

@Suite struct RequestTests {
  @Test func `every request comes back as it went`() throws {
    let requests = try Samples.requests()
    #expect(Set(requests.map(\.operation)) == Set(Operation.allCases))
    for request in requests {
      let frame = request.encoded()
      #expect(frame.count <= Limits.Wire.message)
      let decoded = try decode(frame)
      #expect(decoded.operation == request.operation)
      // The encoding is one to one, so equal messages mean equal requests.
      #expect(bytes(decoded.encoded()) == bytes(frame))
    }
  }

  @Test func `what changes names is told from what speaks of open files`() throws {
    for request in try Samples.requests() {
      let expected =
        switch request {
        case .symlink, .mkdir, .mknod, .unlink, .rmdir, .rename, .create, .setattr(.path, _), .link(.path, _),
          .open(_, .path, _, _):
          true
        default: false
        }
      #expect(Request.speaksOfNames(request.encoded()) == expected, "\(request)")
    }
    for count in [0, 1, Header.length] {
      #expect(!Request.speaksOfNames(Frame(copying: [UInt8](repeating: 3, count: count))))
    }
  }

  @Test func `a request cut anywhere is refused`() throws {
    for request in try Samples.requests() {
      let whole = bytes(request.encoded())
      // The data of a write ends where the message ends.
      let shortest =
        switch request.operation {
        case .write: Header.length + 16
        case .append: Header.length + 9
        default: whole.count
        }
      for count in stride(from: 0, to: shortest, by: whole.count > 1_000 ? 7 : 1) {
        #expect(throws: (any Error).self) { try decode(Frame(copying: whole[..<count])) }
      }
    }
  }

  @Test func `a request with something behind it is malformed`() throws {
    for request in try Samples.requests() where ![.write, .append].contains(request.operation) {
      let error = #expect(throws: RequestError.self) {
        try decode(Frame(copying: bytes(request.encoded()) + [0]))
      }
      guard case .malformed = error else {
        Issue.record("\(request.operation) is not malformed")
        continue
      }
    }
  }

  @Test(arguments: [UInt8(0), 24, 128, 255]) func `an unknown operation is answered ENOSYS`(operation: UInt8) {
    var reader = Reader(Frame(copying: [1, 2, 3]))
    #expect(throws: RequestError.refused(.noFunction)) { try Request(operation: operation, &reader) }
  }

  @Test(arguments: [
    (Int64(-1), Errno.invalidArgument), (.min, .invalidArgument), (.max, .fileTooLarge),
    (Limits.Wire.fileSize + 1, .fileTooLarge),
  ]) func `offsets out of range are refused`(offset: Int64, expected: Errno) throws {
    let handle = Handle(rawValue: 1)
    let requests: [Request] = [
      .read(handle, offset: offset, count: 1), .write(handle, offset: offset, Samples.slice([1])),
      .seek(handle, offset: offset, .data), .allocate(handle, offset: offset, count: 1, mode: 0),
      .allocate(handle, offset: 1, count: offset, mode: 0),
      .setattr(.handle(handle), AttributeChanges(size: offset)),
    ]
    for request in requests {
      #expect(throws: RequestError.refused(expected)) { try decode(request.encoded()) }
    }
  }

  @Test func `counts above their bounds are refused`() {
    let handle = Handle(rawValue: 1)
    let tooMuch = UInt32(Limits.Wire.read) + 1
    for count in [tooMuch, .max] {
      #expect(throws: RequestError.refused(.invalidArgument)) {
        try decode(Request.read(handle, offset: 0, count: count).encoded())
      }
      #expect(throws: RequestError.refused(.invalidArgument)) {
        try decode(Request.open(handle, .root, .read, prefetch: count).encoded())
      }
    }
    let data = Samples.slice([UInt8](repeating: 0, count: Limits.Wire.data + 1))
    #expect(throws: RequestError.refused(.invalidArgument)) {
      try decode(Request.write(handle, offset: 0, data).encoded())
    }
  }

  @Test func `link targets that are none are refused`() throws {
    let path = try Path([65])
    let targets: [([UInt8], Errno)] = [
      ([], .noSuchFileOrDirectory), ([65, 0], .invalidArgument),
      ([UInt8](repeating: 65, count: Limits.Wire.linkTarget + 1), .fileNameTooLong),
    ]
    for (target, error) in targets {
      #expect(throws: RequestError.refused(error)) { try decode(Request.symlink(path, target: target).encoded()) }
    }
  }

  @Test(arguments: [UInt32(0o020644), 0o060644, 0o120644, 0o040755, 0, 0o644, .max])
  func `only FIFOs, sockets and regular files are nodes`(mode: UInt32) throws {
    let path = try Path([65])
    #expect(throws: RequestError.refused(.notPermitted)) { try decode(Request.mknod(path, mode: mode).encoded()) }
  }

  @Test func `setuid and setgid bits are stripped`() throws {
    let path = try Path([65])
    guard case .mkdir(_, mode: 0o1777, umask: 0) = try decode(Request.mkdir(path, mode: .max).encoded()),
      case .mknod(_, mode: 0o101777, umask: 0) = try decode(Request.mknod(path, mode: 0o107777).encoded()),
      case .create(_, _, _, mode: 0o755, umask: 0o22) = try decode(
        Request.create(Handle(rawValue: 1), path, .write, mode: 0o6755, umask: 0o22).encoded()),
      case .setattr(_, let changes) = try decode(
        Request.setattr(.path(path), AttributeChanges(mode: 0o4711)).encoded())
    else {
      Issue.record("a mode came through")
      return
    }
    #expect(changes.mode == 0o711)
  }

  @Test func `write requests are the same, made in place or not`() throws {
    let whole = Request.write(Handle(rawValue: 5), offset: 6, Samples.slice([1, 2, 3])).encoded()
    let placed = Request.writeFrame(Handle(rawValue: 5), offset: 6, count: 3)
    for byte: UInt8 in [1, 2, 3] { placed.write(byte) }
    #expect(bytes(whole) == bytes(placed))
  }
}
