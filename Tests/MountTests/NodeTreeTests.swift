import P2PFSCore
import SystemPackage
import Rig
import Testing
import P2PFSWire

@testable import P2PFSMount

@Suite(.onThreads) struct NodeTreeTests {
  private let now = Instant(nanoseconds: 1000)

  private func tree() throws -> NodeTree {
    NodeTree(base: try Path(Array("base".utf8)), attributes: .root, asked: now)
  }

  private func text(_ path: Path) -> String { String(decoding: path.bytes, as: UTF8.self) }

  @Test func `paths follow moves of the directories above`() throws {
    var tree = try tree()
    let a = tree.enter([97], in: tree.root, .made(.directory, inode: 2), asked: now)
    let b = tree.enter([98], in: a, .made(.regular, inode: 3), asked: now)
    let c = tree.enter([99], in: tree.root, .made(.directory, inode: 4), asked: now)
    #expect(text(try tree.path(of: b)) == "base/a/b")
    tree.move([97], in: tree.root, to: [122], in: c)
    #expect(text(try tree.path(of: b)) == "base/c/z/b")
    let q = tree.enter([113], in: tree.root, .made(.regular, inode: 5), asked: now)
    tree.exchange([122], in: c, with: [113], in: tree.root)
    #expect(text(try tree.path(of: b)) == "base/q/b")
    #expect(text(try tree.path(of: q)) == "base/c/z")
  }

  @Test func `nodes go when the kernel forgets them, and directories after what is in them`() throws {
    var tree = try tree()
    let a = tree.enter([97], in: tree.root, .made(.directory, inode: 2), asked: now)
    let b = tree.enter([98], in: a, .made(.regular, inode: 3), asked: now)
    a.lookups = 1
    b.lookups = 2
    tree.forget(a.id, count: 1)
    #expect(tree.count == 3)
    tree.forget(b.id, count: 1)
    #expect(tree.count == 3)
    tree.forget(b.id, count: 5)
    #expect(tree.count == 1)
    tree.forget(12345, count: 1)
  }

  @Test func `a name that stands for another file is another node, and the old one has no path`() throws {
    var tree = try tree()
    let old = tree.enter([97], in: tree.root, .made(.regular, inode: 2), asked: now)
    old.lookups = 1
    let new = tree.enter([97], in: tree.root, .made(.regular, inode: 3), asked: now)
    #expect(old !== new)
    #expect(throws: Errno.staleNFSFileHandle) { try tree.path(of: old) }
    let again = tree.enter([97], in: tree.root, .made(.regular, inode: 3), asked: now)
    #expect(again === new)
  }

  @Test func `names of one file are one node, with the peer's number`() throws {
    var tree = try tree()
    let one = tree.enter([97], in: tree.root, .made(.regular, inode: 5, links: 2), asked: now)
    let other = tree.enter([98], in: tree.root, .made(.regular, inode: 5, links: 2), asked: now)
    #expect(one === other && one.inode == 5)
    one.lookups = 2
    #expect(text(try tree.path(of: one)) == "base/b")
    tree.unlink([98], in: tree.root)
    #expect(text(try tree.path(of: one)) == "base/a")
    tree.unlink([97], in: tree.root)
    #expect(one.isUnlinked && tree.node(one.remote) === one)
    // The same number, and another kind of file: the peer lies, or has used it again.
    let directory = tree.enter([97], in: tree.root, .made(.directory, inode: 5), asked: now)
    #expect(directory !== one)
  }

  @Test func `a directory that turns up elsewhere was moved`() throws {
    var tree = try tree()
    let a = tree.enter([97], in: tree.root, .made(.directory, inode: 2), asked: now)
    let b = tree.enter([98], in: tree.root, .made(.directory, inode: 3), asked: now)
    let again = tree.enter([99], in: b, .made(.directory, inode: 2), asked: now)
    #expect(again === a)
    #expect(text(try tree.path(of: a)) == "base/b/c")
    #expect(tree.root.children[[97]] == nil)
  }

  @Test func `a directory that claims to be one above it is another`() throws {
    var tree = try tree()
    let first = tree.enter([99], in: tree.root, .made(.directory, inode: 6), asked: now)
    let second = tree.enter([99], in: first, .made(.directory, inode: 6), asked: now)
    #expect(first !== second && first.inode != second.inode)
    let root = tree.enter([100], in: second, .root, asked: now)
    #expect(root !== tree.root && root.inode != tree.root.inode)
    #expect(text(try tree.path(of: root)) == "base/c/c/d")
  }

  @Test func `a name says which directory is meant, and a change which file, but for the root`() throws {
    var tree = try tree()
    let a = tree.enter([97], in: tree.root, .made(.directory, inode: 2), asked: now)
    let b = tree.enter([98], in: a, .made(.regular, inode: 3), asked: now)
    #expect(try tree.place(of: [98], in: a) == Place(tree.path(of: b), in: a.remote.identity))
    #expect(try tree.place(of: b) == Place(tree.path(of: b), file: b.remote.identity))
    #expect(try tree.place(ofNameOf: b) == Place(tree.path(of: b), in: a.remote.identity))
    #expect(try tree.place(of: [97], in: tree.root) == Place(tree.path(of: a)))
    #expect(try tree.place(of: tree.root) == Place(tree.base))
  }

  @Test func `a directory in whose place is another one is somewhere else, until it is found`() throws {
    var tree = try tree()
    let old = tree.enter([97], in: tree.root, .made(.directory, inode: 2), asked: now)
    let inside = tree.enter([98], in: old, .made(.directory, inode: 3), asked: now)
    (old.lookups, inside.lookups) = (1, 1)
    #expect(!tree.isDisplaced(inside))
    _ = tree.enter([97], in: tree.root, .made(.directory, inode: 4), asked: now)
    #expect(tree.isDisplaced(old) && tree.isDisplaced(inside))
    #expect(throws: Errno.staleNFSFileHandle) { try tree.place(of: [99], in: inside) }
    _ = tree.enter([99], in: tree.root, .made(.directory, inode: 2), asked: now)
    #expect(!tree.isDisplaced(inside))
    #expect(text(try tree.path(of: inside)) == "base/c/b")
    tree.unlink([99], in: tree.root)
    #expect(old.isUnlinked && !tree.isDisplaced(old))
  }

  @Test func `the root takes another identity, and forgets what was in it`() throws {
    var tree = try tree()
    let child = tree.enter([97], in: tree.root, .made(.directory, inode: 2), asked: now)
    child.lookups = 1
    var other = Attributes.made(.directory, inode: 10)
    other.identity.device = 2
    let before = tree.root.remote
    #expect(tree.adopt(root: other, asked: now.advanced(by: 1)) == [[97]])
    #expect(tree.root.remote == RemoteFile(other) && tree.node(before) == nil)
    #expect(tree.root.children.isEmpty && tree.isDisplaced(child))
    var moved = child.attributes
    moved.identity.device = 2
    let again = tree.enter([97], in: tree.root, moved, asked: now.advanced(by: 1))
    #expect(again !== child && again.inode == 2)
  }

  @Test func `contents that turn out to be others drop the pages of the file, once`() throws {
    var tree = try tree()
    let file = tree.enter([97], in: tree.root, .made(.regular, inode: 2, size: 1), asked: now)
    file.hasPages = true
    file.cachedVersion = file.attributes.version
    tree.learn(.made(.regular, inode: 2, size: 1), of: file, asked: now.advanced(by: 1))
    #expect(tree.effects.isEmpty && file.cachedVersion != nil)
    tree.learn(.made(.regular, inode: 2, size: 2), of: file, asked: now.advanced(by: 2))
    #expect(tree.effects.stalePages == [file.id] && file.cachedVersion == nil)
    // What was asked for before says nothing new.
    #expect(file.noteContents(Attributes.made(.regular, inode: 2, size: 1).version, asked: now) == .outdated)
    // Changes of ours make every state an unknown one.
    file.touch(at: now.advanced(by: 3))
    tree.learn(.made(.regular, inode: 2, size: 3), of: file, asked: now.advanced(by: 4))
    #expect(tree.effects.stalePages == [file.id])
  }
}

@Suite(.onThreads) struct WriteFailureTests {
  @Test func `a child's close takes the error from nobody`() {
    var failure = WriteFailure()
    let isFirst = failure.note(.noSpace)
    #expect(isFirst && failure.isSecret)
    #expect(failure.tellForFlush() == .noSpace)
    #expect(failure.tellForFlush() == .noSpace)
    #expect(failure.takeForWrite() == .noSpace)
    #expect(failure.takeForWrite() == nil)
    #expect(failure.takeForFsync() == .noSpace)
    #expect(failure.takeForFsync() == nil && failure.tellForFlush() == nil && !failure.isSecret)
  }
}

@Suite(.onThreads) struct ProcessThreadTests {
  private func status(pending: UInt64, blocked: UInt64 = 0, ignored: UInt64 = 0, caught: UInt64 = 0) -> String {
    func hex(_ mask: UInt64) -> String { String(mask, radix: 16) }
    return """
      Name:\tcp
      SigQ:\t0/95
      SigPnd:\t0000000000000000
      ShdPnd:\t\(hex(pending))
      SigBlk:\t\(hex(blocked))
      SigIgn:\t\(hex(ignored))
      SigCgt:\t\(hex(caught))
      """
  }

  @Test func `only a signal that ends the process is fatal`() {
    let (kill, quit, alarm, stop, child) =
      (UInt64(1) << 8, UInt64(1) << 2, UInt64(1) << 13, 1 << 19, 1 << 16)
      as (
        UInt64, UInt64, UInt64, UInt64, UInt64
      )
    #expect(ProcessThread.isFatal(status: status(pending: kill, blocked: .max, caught: .max)))
    #expect(ProcessThread.isFatal(status: status(pending: quit)))
    for pending in [0, stop, child] { #expect(!ProcessThread.isFatal(status: status(pending: pending))) }
    #expect(!ProcessThread.isFatal(status: status(pending: alarm, caught: alarm)))
    #expect(!ProcessThread.isFatal(status: status(pending: alarm, blocked: alarm)))
    #expect(!ProcessThread.isFatal(status: status(pending: alarm, ignored: alarm)))
    #expect(ProcessThread.isFatal(status: status(pending: alarm, caught: quit)))
  }
}

@Suite(.onThreads) struct DirectoryListingTests {
  @Test func `places stay when entries go`() {
    var listing = CachedListing(asked: Instant(nanoseconds: 0))
    for name: UInt8 in 97..<100 {
      let isNew = listing.append([name], nil)
      #expect(isNew)
    }
    let isNew = listing.append([97], nil)
    #expect(!isNew)
    listing.remove([98])
    #expect((0..<listing.places).map { listing.entry(at: $0)?.name } == [[97], nil, [99]])
    #expect(listing[[98]] == nil && listing[[99]] != nil && listing.count == 2)
    listing.set([98], .root, asked: Instant(nanoseconds: 1))
    #expect(listing.places == 4)
    #expect(listing[[98]]?.attributes == .root)
    #expect(listing[[98]]?.type == .directory && listing[[98]]?.identity == 10)
  }
}
