import P2PFSCore
import Testing

@testable import P2PFSWire

/// What is read off a request before it is decoded agrees with what the codec writes.
@Suite struct RequestSummaryTests {
  private let handle = Handle(rawValue: 0x0102_0304_0506_0708)

  @Test(arguments: [0, 1, 32_768]) func `the data of a write is all behind its prefix`(count: Int) {
    let data = FrameSlice(Frame(copying: [UInt8](repeating: 1, count: count)), 0..<count)
    for request in [Request.write(handle, offset: 5, data), .append(handle, more: true, data)] {
      let summary = RequestSummary(of: request.encoded())
      #expect(summary.dataBytes == count && summary.answerBytes == 0 && summary.changes)
      #expect(summary.operation == request.operation)
    }
  }

  @Test func `the length of an answer is read off the request and bounded`() {
    #expect(RequestSummary(of: Request.read(handle, offset: 1 << 40, count: 4_096).encoded()).answerBytes == 4_096)
    #expect(RequestSummary(of: Request.read(handle, offset: 0, count: .max).encoded()).answerBytes == Limits.Wire.read)
    #expect(RequestSummary(of: Request.open(handle, .root, .read, prefetch: 7).encoded()).answerBytes == 7)
    #expect(RequestSummary(of: Request.readlink(.root).encoded()).answerBytes == Limits.Wire.linkTarget)
    #expect(RequestSummary(of: Request.list(handle, .root, cookie: 0).encoded()).answerBytes == Limits.Wire.listing)
    #expect(RequestSummary(of: Request.lookup(.path(.root)).encoded()).answerBytes == 0)
  }

  @Test func `the handle of a request is where the codec puts it`() {
    func use(_ request: Request) -> HandleUse? {
      HandleUse(of: request.encoded(), operation: request.operation.rawValue)
    }
    #expect(use(.read(handle, offset: 0, count: 1)).map { $0.handle == handle.rawValue && !$0.isExclusive } == true)
    #expect(use(.lookup(.handle(handle))).map { $0.handle == handle.rawValue && !$0.isExclusive } == true)
    #expect(use(.close(handle)).map { $0.handle == handle.rawValue && $0.isExclusive } == true)
    #expect(use(.setattr(.handle(handle), AttributeChanges(size: 1))).map { $0.isExclusive } == true)
    // The file that is opened once more is used, beside others; a new one alone.
    let again = Request.open(Handle(rawValue: 9), .handle(handle), .read, prefetch: 0)
    #expect(use(again).map { $0.handle == handle.rawValue && !$0.isExclusive } == true)
    #expect(use(.open(Handle(rawValue: 9), .root, .read, prefetch: 0)).map { $0.handle == 9 && $0.isExclusive } == true)
    #expect(use(.lookup(.path(.root))) == nil && use(.unlink(.root)) == nil)
  }

  @Test func `nothing is read beyond the end of a request that is cut off anywhere`() {
    for operation in UInt8(0)...255 {
      for count in Header.length..<Header.length + 24 {
        let frame = Frame(copying: [UInt8](repeating: 1, count: count))
        let summary = RequestSummary(of: frame, operation: operation)
        #expect(summary.dataBytes >= 0 && summary.dataBytes <= count && summary.answerBytes >= 0)
        _ = HandleUse(of: frame, operation: operation)
      }
    }
  }
}
