//! A tree of files as a child would write it: maps in memory, names followed one by one.

use std::collections::BTreeMap;

use devbox_types::operation::Operation;
use devbox_types::{BoxPath, ErrorCode};

/// Linux's MAXSYMLINKS.
const MAX_LINKS: usize = 40;

type Number = usize;

#[derive(Debug, Clone)]
enum Node {
    File { content: Vec<u8>, mode: u32 },
    Directory { entries: BTreeMap<Vec<u8>, Number>, mode: u32 },
    Link { target: Vec<u8> },
}

/// The tree. Nodes are never given up; a number is what an inode number is.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// A name in a directory.
struct Place {
    directory: Number,
    name: Vec<u8>,
    /// The directories on the way, outermost first, the last one included.
    way: Vec<Number>,
}

type Outcome<T> = Result<T, ErrorCode>;

impl Tree {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::Directory { entries: BTreeMap::new(), mode: 0o755 }] }
    }

    /// All or nothing.
    pub(super) fn apply(&mut self, operations: &[Operation]) -> Outcome<()> {
        let mut after = self.clone();
        operations.iter().try_for_each(|operation| after.run(operation))?;
        *self = after;
        Ok(())
    }

    /// All or nothing. All targets are found and checked before the first is written.
    pub(super) fn write_many(&mut self, files: &[(BoxPath, Vec<u8>, bool)]) -> Outcome<()> {
        let mut after = self.clone();
        let mut places = Vec::new();
        for (path, _, parents) in files {
            let place = after.target(path, *parents)?;
            if places.contains(&(place.directory, place.name.clone())) {
                return Err(ErrorCode::InvalidRequest);
            }
            places.push((place.directory, place.name));
            // A directory that was made on the way of this file lies where another is to be.
            let is_taken = |(directory, name): &(Number, Vec<u8>)| {
                after.entry(*directory, name).is_some_and(|number| after.is_directory(number))
            };
            if places.iter().any(is_taken) {
                return Err(ErrorCode::InvalidRequest);
            }
        }
        for ((_, content, _), (directory, name)) in files.iter().zip(places) {
            after.put(directory, name, content.clone());
        }
        *self = after;
        Ok(())
    }

    pub(super) fn write(&mut self, path: &BoxPath, content: &[u8], parents: bool) -> Outcome<()> {
        self.write_many(&[(path.clone(), content.to_vec(), parents)])
    }

    pub(super) fn read(&self, path: &BoxPath) -> Outcome<&[u8]> {
        match &self.nodes[self.find(path, true)?] {
            Node::File { content, .. } => Ok(content),
            Node::Directory { .. } => Err(ErrorCode::IsADirectory),
            Node::Link { .. } => unreachable!("links are followed"),
        }
    }

    /// What a look at an entry tells, as [`Self::describe`] writes it.
    pub(super) fn stat(&self, path: &BoxPath, follow: bool) -> Outcome<String> {
        Ok(self.describe_node(self.find(path, follow)?))
    }

    /// The paths of all entries below a directory, down to a depth, in byte order.
    pub(super) fn list(&self, path: &BoxPath, depth: usize) -> Outcome<Vec<Vec<u8>>> {
        let number = self.find_directory(path)?;
        let mut found = Vec::new();
        self.visit(number, path.as_bytes(), depth, &mut |path, _| found.push(path.to_vec()));
        found.sort();
        Ok(found)
    }

    /// Every entry with all that is compared of it.
    pub(super) fn describe(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.visit(0, b"", usize::MAX, &mut |path, number| {
            found.push(format!("{} {}", path.escape_ascii(), self.describe_node(number)));
        });
        found.sort();
        found
    }

    fn describe_node(&self, number: Number) -> String {
        match &self.nodes[number] {
            Node::File { content, mode } => {
                format!("file {mode:04o} {} {}", self.links(number), content.escape_ascii())
            }
            Node::Directory { mode, .. } => format!("directory {mode:04o}"),
            Node::Link { target } => format!("link {} {}", self.links(number), target.escape_ascii()),
        }
    }

    fn links(&self, wanted: Number) -> usize {
        let mut count = 0;
        self.visit(0, b"", usize::MAX, &mut |_, number| count += usize::from(number == wanted));
        count
    }

    fn visit(&self, number: Number, path: &[u8], depth: usize, tell: &mut impl FnMut(&[u8], Number)) {
        if depth == 0 {
            return;
        }
        for (name, below) in self.entries(number) {
            let path = if path.is_empty() { name.clone() } else { [path, b"/", name].concat() };
            tell(&path, *below);
            if matches!(self.nodes[*below], Node::Directory { .. }) {
                self.visit(*below, &path, depth - 1, tell);
            }
        }
    }

    fn run(&mut self, operation: &Operation) -> Outcome<()> {
        match operation {
            Operation::Mkdir { path, mode, parents } => self.mkdir(path, mode.unwrap_or(0o755), *parents),
            Operation::Move { from, to, overwrite } => self.rename(from, to, *overwrite),
            Operation::Copy { from, to, recursive, overwrite } => self.copy(from, to, *recursive, *overwrite),
            Operation::Symlink { path, target } => {
                if path.wants_directory() {
                    return Err(ErrorCode::InvalidRequest);
                }
                let place = self.place(path)?;
                self.make(place, Node::Link { target: target.clone() })
            }
            Operation::Link { from, to } => self.link(from, to),
            Operation::Write { path, content, parents, overwrite, .. } => {
                let place = match self.target(path, *parents) {
                    Err(ErrorCode::IsADirectory) if !overwrite && !path.wants_directory() => {
                        return Err(ErrorCode::Exists);
                    }
                    place => place?,
                };
                if !overwrite && self.entry(place.directory, &place.name).is_some() {
                    return Err(ErrorCode::Exists);
                }
                self.put(place.directory, place.name, content.clone());
                Ok(())
            }
            Operation::Chmod { path, mode: new } => {
                let number = self.find(path, true)?;
                match &mut self.nodes[number] {
                    Node::File { mode, .. } | Node::Directory { mode, .. } => *mode = *new,
                    Node::Link { .. } => unreachable!("links are followed"),
                }
                Ok(())
            }
            Operation::Delete { path, recursive, missing_ok } => self.delete(path, *recursive, *missing_ok),
            other => unreachable!("{other:?} is not tried"),
        }
    }

    fn mkdir(&mut self, path: &BoxPath, mode: u32, parents: bool) -> Outcome<()> {
        if path.is_root() {
            return if parents { Ok(()) } else { Err(ErrorCode::Exists) };
        }
        if parents {
            self.make_missing(&path.parent().expect("a parent"))?;
        }
        let place = self.place(path)?;
        if parents && self.entry(place.directory, &place.name).is_some() {
            return self.find_directory(path).map(drop).map_err(|code| match code {
                ErrorCode::NotFound => ErrorCode::NotADirectory,
                code => code,
            });
        }
        self.make(place, Node::Directory { entries: BTreeMap::new(), mode })
    }

    fn make_missing(&mut self, path: &BoxPath) -> Outcome<()> {
        let mut so_far = BoxPath::root();
        for name in path.segments() {
            so_far = so_far.join(name).expect("a path");
            match self.find_directory(&so_far) {
                Ok(_) => continue,
                Err(ErrorCode::NotFound) => {}
                Err(code) => return Err(code),
            }
            let place = self.place(&so_far)?;
            if self.entry(place.directory, &place.name).is_some() {
                return Err(ErrorCode::NotADirectory);
            }
            self.make(place, Node::Directory { entries: BTreeMap::new(), mode: 0o755 })?;
        }
        Ok(())
    }

    fn rename(&mut self, from: &BoxPath, to: &BoxPath, overwrite: bool) -> Outcome<()> {
        let (old, existing) = self.source(from)?;
        let new = self.place(to)?;
        if to.wants_directory() && !self.is_directory(existing) {
            return Err(ErrorCode::NotADirectory);
        }
        match self.entry(new.directory, &new.name) {
            Some(_) if !overwrite => return Err(ErrorCode::Exists),
            Some(replaced) if replaced == existing => return Ok(()),
            Some(replaced) => match (self.is_directory(existing), self.is_directory(replaced)) {
                (false, true) => return Err(ErrorCode::IsADirectory),
                (true, false) => return Err(ErrorCode::NotADirectory),
                (true, true) if !self.entries(replaced).is_empty() => {
                    return Err(ErrorCode::DirectoryNotEmpty);
                }
                _ => {}
            },
            None => {}
        }
        if new.way.contains(&existing) {
            return Err(ErrorCode::InvalidRequest);
        }
        self.entries_mut(old.directory).remove(&old.name);
        self.entries_mut(new.directory).insert(new.name, existing);
        Ok(())
    }

    fn copy(&mut self, from: &BoxPath, to: &BoxPath, recursive: bool, overwrite: bool) -> Outcome<()> {
        let (_, existing) = self.source(from)?;
        let is_directory = self.is_directory(existing);
        if is_directory && !recursive {
            return Err(ErrorCode::IsADirectory);
        }
        if is_directory && to.is_within(from) {
            return Err(ErrorCode::InvalidRequest);
        }
        let new = self.place(to)?;
        if to.wants_directory() && !is_directory {
            return Err(ErrorCode::NotADirectory);
        }
        match self.entry(new.directory, &new.name) {
            Some(_) if !overwrite => return Err(ErrorCode::Exists),
            Some(replaced) if self.is_directory(replaced) => return Err(ErrorCode::IsADirectory),
            Some(_) if is_directory => return Err(ErrorCode::NotADirectory),
            Some(replaced) if replaced == existing => return Err(ErrorCode::InvalidRequest),
            _ => {}
        }
        let copy = self.duplicate(existing);
        self.entries_mut(new.directory).insert(new.name, copy);
        Ok(())
    }

    fn duplicate(&mut self, number: Number) -> Number {
        let copy = match self.nodes[number].clone() {
            Node::Directory { entries, mode } => {
                let entries =
                    entries.into_iter().map(|(name, below)| (name, self.duplicate(below))).collect();
                Node::Directory { entries, mode }
            }
            node => node,
        };
        self.add(copy)
    }

    fn link(&mut self, from: &BoxPath, to: &BoxPath) -> Outcome<()> {
        if to.wants_directory() {
            return Err(ErrorCode::InvalidRequest);
        }
        let (_, existing) = self.source(from)?;
        if self.is_directory(existing) {
            return Err(ErrorCode::IsADirectory);
        }
        let new = self.place(to)?;
        if self.entry(new.directory, &new.name).is_some() {
            return Err(ErrorCode::Exists);
        }
        self.entries_mut(new.directory).insert(new.name, existing);
        Ok(())
    }

    fn delete(&mut self, path: &BoxPath, recursive: bool, missing_ok: bool) -> Outcome<()> {
        let missing = if missing_ok { Ok(()) } else { Err(ErrorCode::NotFound) };
        let place = match self.place(path) {
            Err(ErrorCode::NotFound) => return missing,
            place => place?,
        };
        let Some(existing) = self.entry(place.directory, &place.name) else { return missing };
        let is_directory = self.is_directory(existing);
        if path.wants_directory() && !is_directory {
            return Err(ErrorCode::NotADirectory);
        }
        if is_directory && !recursive && !self.entries(existing).is_empty() {
            return Err(ErrorCode::DirectoryNotEmpty);
        }
        self.entries_mut(place.directory).remove(&place.name);
        Ok(())
    }

    /// Where a write goes: past final links, to a file or a free name.
    fn target(&mut self, path: &BoxPath, parents: bool) -> Outcome<Place> {
        if path.wants_directory() {
            return match self.find_directory(path) {
                Ok(_) | Err(ErrorCode::NotFound) => Err(ErrorCode::IsADirectory),
                Err(code) => Err(code),
            };
        }
        let mut place = match self.place(path) {
            Err(ErrorCode::NotFound) if parents => {
                self.make_missing(&path.parent().expect("a parent"))?;
                self.place(path)?
            }
            place => place?,
        };
        for _ in 0..=MAX_LINKS {
            let Some(number) = self.entry(place.directory, &place.name) else { return Ok(place) };
            match &self.nodes[number] {
                Node::File { .. } => return Ok(place),
                Node::Directory { .. } => return Err(ErrorCode::IsADirectory),
                Node::Link { target } => {
                    let target = target.clone();
                    let (directory, name) = match target.iter().rposition(|byte| *byte == b'/') {
                        None => (&[][..], &target[..]),
                        Some(slash) => (&target[..=slash], &target[slash + 1..]),
                    };
                    if matches!(name, b"" | b"." | b"..") {
                        return Err(ErrorCode::IsADirectory);
                    }
                    let way = self.follow(place.way, directory, true)?;
                    let directory = *way.last().expect("the root");
                    if !self.is_directory(directory) {
                        return Err(ErrorCode::NotADirectory);
                    }
                    place = Place { directory, name: name.to_vec(), way };
                }
            }
        }
        Err(ErrorCode::SymlinkLoop)
    }

    /// Creates or replaces a file; a replaced one is a new node with the old one's mode.
    fn put(&mut self, directory: Number, name: Vec<u8>, content: Vec<u8>) {
        let mode = match self.entry(directory, &name).map(|number| &self.nodes[number]) {
            Some(Node::File { mode, .. }) => *mode,
            _ => 0o644,
        };
        let file = self.add(Node::File { content, mode });
        self.entries_mut(directory).insert(name, file);
    }

    fn make(&mut self, place: Place, node: Node) -> Outcome<()> {
        if self.entry(place.directory, &place.name).is_some() {
            return Err(ErrorCode::Exists);
        }
        let number = self.add(node);
        self.entries_mut(place.directory).insert(place.name, number);
        Ok(())
    }

    fn source(&self, path: &BoxPath) -> Outcome<(Place, Number)> {
        let place = self.place(path)?;
        let number = self.entry(place.directory, &place.name).ok_or(ErrorCode::NotFound)?;
        if path.wants_directory() && !self.is_directory(number) {
            return Err(ErrorCode::NotADirectory);
        }
        Ok((place, number))
    }

    fn place(&self, path: &BoxPath) -> Outcome<Place> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(ErrorCode::InvalidPath);
        };
        let way = self.follow(vec![0], parent.as_bytes(), true)?;
        let directory = *way.last().expect("the root");
        if !self.is_directory(directory) {
            return Err(ErrorCode::NotADirectory);
        }
        Ok(Place { directory, name: name.to_vec(), way })
    }

    fn find(&self, path: &BoxPath, follow: bool) -> Outcome<Number> {
        if path.wants_directory() {
            return self.find_directory(path);
        }
        Ok(*self.follow(vec![0], path.as_bytes(), follow)?.last().expect("the root"))
    }

    fn find_directory(&self, path: &BoxPath) -> Outcome<Number> {
        let number = *self.follow(vec![0], path.as_bytes(), true)?.last().expect("the root");
        if self.is_directory(number) { Ok(number) } else { Err(ErrorCode::NotADirectory) }
    }

    /// Goes from one node to another, component by component. `..` of the root is the root.
    fn follow(&self, mut way: Vec<Number>, path: &[u8], follow_last: bool) -> Outcome<Vec<Number>> {
        let components = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|byte| *byte == b'/')
                .rev()
                .filter(|name| !name.is_empty())
                .map(<[u8]>::to_vec)
                .collect()
        };
        if path.first() == Some(&b'/') {
            way.truncate(1);
        }
        let mut pending = components(path);
        let mut links = 0;
        while let Some(name) = pending.pop() {
            let here = *way.last().expect("the root");
            let Node::Directory { entries, .. } = &self.nodes[here] else {
                return Err(ErrorCode::NotADirectory);
            };
            match &name[..] {
                b"." => continue,
                b".." => {
                    if way.len() > 1 {
                        way.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let number = *entries.get(&name).ok_or(ErrorCode::NotFound)?;
            match &self.nodes[number] {
                Node::Link { target } if follow_last || !pending.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(ErrorCode::SymlinkLoop);
                    }
                    if target.first() == Some(&b'/') {
                        way.truncate(1);
                    }
                    pending.extend(components(target));
                }
                _ => way.push(number),
            }
        }
        Ok(way)
    }

    fn is_directory(&self, number: Number) -> bool {
        matches!(self.nodes[number], Node::Directory { .. })
    }

    fn entry(&self, directory: Number, name: &[u8]) -> Option<Number> {
        self.entries(directory).get(name).copied()
    }

    fn entries(&self, number: Number) -> &BTreeMap<Vec<u8>, Number> {
        match &self.nodes[number] {
            Node::Directory { entries, .. } => entries,
            _ => unreachable!("a place is in a directory"),
        }
    }

    fn entries_mut(&mut self, number: Number) -> &mut BTreeMap<Vec<u8>, Number> {
        match &mut self.nodes[number] {
            Node::Directory { entries, .. } => entries,
            _ => unreachable!("a place is in a directory"),
        }
    }

    fn add(&mut self, node: Node) -> Number {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}
