//! `cargo xtask tidy`: the rules that the compiler does not hold.
//!
//! | rule | where it is written down |
//! |------|--------------------------|
//! | crates depend only along the listed edges | ARCHITECTURE.md, the block after "The allowed edges" |
//! | files stay short | [`LONG_FILES`], which may only shrink |
//! | every term of the notes has a file, or says that it is not built yet | GLOSSARY.md |
//! | what must not be written is not written | [`BANS`], each with its reason |
//! | every dependency has a reason | deny.toml |

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The longest a file of code may be.
const FILE_LINES_MAX: usize = 500;

/// Files that are longer, and how long they may be. Shorten one: lower its number. Generated code is not listed.
const LONG_FILES: &[(&str, usize)] = &[("crates/quorate-machines/src/kv/tree.rs", 533)];

/// What must not be written: a text, the folders it must not stand in, folders that are exempt, and why.
const BANS: &[Ban] = &[
    Ban {
        text: "HashMap",
        within: &["crates/quorate-model", "crates/quorate-protocols"],
        except: &[],
        why: "its order is chance; processes are deterministic: use BTreeMap",
    },
    Ban {
        text: "SystemTime",
        within: &["crates"],
        except: &["crates/quorate-runtime/src/clock.rs"],
        why: "the wall clock is read in one place, and nothing that must be right depends on it",
    },
    Ban {
        text: "thread::sleep",
        within: &["crates", "xtask"],
        except: &["crates/quorate/tests/support", "crates/quorate-runtime/examples"],
        why: "waiting is for a condition, with a bound; the pause between two looks is in tests/support",
    },
    Ban { text: "todo!(", within: &["crates", "xtask"], except: &[], why: "what is not there is not called" },
    Ban { text: "#[ignore", within: &["crates", "xtask"], except: &[], why: "a test that does not run proves nothing" },
    Ban {
        text: ".unwrap()",
        within: &["crates", "xtask"],
        except: &[],
        why: "say why it cannot fail: expect(\"the sentence that is the proof\")",
    },
];

struct Ban {
    text: &'static str,
    within: &'static [&'static str],
    except: &'static [&'static str],
    why: &'static str,
}

/// Checks everything and prints every finding.
///
/// # Errors
/// When anything was found, or a file cannot be read.
pub fn tidy(root: &Path) -> anyhow::Result<()> {
    let mut findings = Vec::new();
    edges(root, &mut findings)?;
    glossary(root, &mut findings)?;
    reasons(root, &mut findings)?;
    for file in code_files(root)? {
        check_file(root, &file, &mut findings)?;
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings", findings.len())
}

fn code_files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.join("crates"), root.join("xtask"), root.join("conformance"), root.join("fuzz")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue }; // not every folder exists
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "generated" && name != "target" {
                folders.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(root: &Path, file: &Path, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
    let lines = text.lines().count();
    let bound = LONG_FILES.iter().find(|(long, _)| *long == name).map_or(FILE_LINES_MAX, |(_, bound)| *bound);
    if lines > bound {
        findings.push(format!("{name} has {lines} lines, more than {bound}: split it by role or meaning"));
    }
    if name == "xtask/src/tidy.rs" {
        return Ok(()); // the bans themselves
    }
    for ban in BANS {
        let inside = |folders: &[&str]| folders.iter().any(|folder| name.starts_with(folder));
        if !inside(ban.within) || inside(ban.except) {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            if line.contains(ban.text) && !line.trim_start().starts_with("//") {
                findings.push(format!("{name}:{} has `{}`: {}", at + 1, ban.text, ban.why));
            }
        }
    }
    Ok(())
}

/// The edges between our crates are those that ARCHITECTURE.md lists, no others.
fn edges(root: &Path, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md is missing")?;
    let block = text.split("The allowed edges").nth(1).and_then(|rest| rest.split("```").nth(1));
    let block = block.context("ARCHITECTURE.md has no block after \"The allowed edges\"")?;
    let allowed: BTreeSet<(String, String)> = block
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .flat_map(|(from, to)| to.split(", ").map(move |to| (from.trim().to_owned(), to.trim().to_owned())))
        .collect();
    for manifest in manifests(root)? {
        let text = fs::read_to_string(&manifest)?;
        let table: toml::Table = toml::from_str(&text).with_context(|| manifest.display().to_string())?;
        let name = table["package"]["name"].as_str().unwrap_or_default().to_owned();
        for section in ["dependencies", "dev-dependencies"] {
            let Some(dependencies) = table.get(section).and_then(|value| value.as_table()) else { continue };
            for to in dependencies.keys().filter(|to| to.starts_with("quorate")) {
                if !allowed.contains(&(name.clone(), to.clone())) {
                    findings.push(format!("{name} depends on {to}, an edge that ARCHITECTURE.md does not allow"));
                }
            }
        }
    }
    Ok(())
}

fn manifests(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut manifests = vec![root.join("xtask/Cargo.toml")];
    for entry in fs::read_dir(root.join("crates"))? {
        manifests.push(entry?.path().join("Cargo.toml"));
    }
    Ok(manifests.into_iter().filter(|path| path.exists()).collect())
}

/// Each row of the glossary names a file that exists, or says "not built yet".
fn glossary(root: &Path, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let text = fs::read_to_string(root.join("GLOSSARY.md")).context("GLOSSARY.md is missing")?;
    for row in
        text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| term") && !line.starts_with("| --"))
    {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [term, _, place] = cells[..] else {
            findings.push(format!("GLOSSARY.md: not three cells: {row}"));
            continue;
        };
        let paths: Vec<_> = place.split('`').skip(1).step_by(2).collect();
        if paths.is_empty() && !place.contains("not built yet") {
            findings.push(format!("GLOSSARY.md: {term} names no file and does not say \"not built yet\""));
        }
        for path in paths {
            if !root.join(path).exists() {
                findings.push(format!("GLOSSARY.md: {term} names {path}, which does not exist"));
            }
        }
    }
    Ok(())
}

/// Each dependency of the workspace has a line with its reason in deny.toml.
fn reasons(root: &Path, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let text = fs::read_to_string(root.join("Cargo.toml"))?;
    let table: toml::Table = toml::from_str(&text).context("Cargo.toml")?;
    let given = fs::read_to_string(root.join("deny.toml")).context("deny.toml is missing")?;
    let given: BTreeSet<_> =
        given.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(": ")).map(|(name, _)| name).collect();
    let dependencies = table["workspace"]["dependencies"].as_table().context("no dependencies")?;
    for name in dependencies.keys().filter(|name| !name.starts_with("quorate")) {
        if !given.contains(name.as_str()) {
            findings.push(format!("deny.toml gives no reason for the dependency {name}: add a line `# {name}: why`"));
        }
    }
    Ok(())
}
