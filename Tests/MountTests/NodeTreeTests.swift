import Core
import SystemPackage
import Testing
import Wire

@testable import Mount

@Suite struct NodeTreeTests {
  private let now = Instant(nanoseconds: 1000)

  private func tree() throws -> NodeTree {
    NodeTree(base: try Path(Array("base".utf8)), attributes: .root, asked: now, seed: 1)
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

  @Test func `links share their inode number, directories never do`() throws {
    var tree = try tree()
    let one = tree.enter([97], in: tree.root, .made(.regular, inode: 5, links: 2), asked: now)
    let other = tree.enter([98], in: tree.root, .made(.regular, inode: 5, links: 2), asked: now)
    #expect(one.inode == other.inode)
    #expect(tree.otherLinks(of: one).map(\.id) == [other.id])
    let first = tree.enter([99], in: tree.root, .made(.directory, inode: 6), asked: now)
    let second = tree.enter([99], in: first, .made(.directory, inode: 6), asked: now)
    #expect(first.inode != second.inode)
  }
}

@Suite struct DirectoryListingTests {
  @Test func `places stay when entries go`() {
    var listing = DirectoryListing(asked: Instant(nanoseconds: 0))
    for name: UInt8 in 97..<100 {
      let isNew = listing.append([name], nil)
      #expect(isNew)
    }
    let isNew = listing.append([97], nil)
    #expect(!isNew)
    listing.remove([98])
    #expect(listing.entries.map { $0?.name } == [[97], nil, [99]])
    #expect(listing[[98]] == nil && listing[[99]] != nil && listing.count == 2)
    listing.set([98], .root, asked: Instant(nanoseconds: 1))
    #expect(listing.entries.count == 4)
    #expect(listing[[98]]?.attributes == .root)
  }
}
