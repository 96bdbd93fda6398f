//! Writes the manual pages of Holdfast's programs, one for each command, from the trees of commands themselves: what
//! people type into one folder, what runs as a daemon into the other.   manuals MAN1 MAN8

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let folders: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [commands, daemons] = folders.as_slice() else { anyhow::bail!("usage: manuals MAN1 MAN8") };
    write(&holdfast::tree(), "1", commands)?;
    for tree in [holdfast_agent::command::tree(), holdfast_coordinator::command::tree()] {
        write(&tree, "8", daemons)?;
    }
    Ok(())
}

fn write(tree: &clap::Command, section: &str, folder: &Path) -> Result<()> {
    let mut tree = tree.clone().disable_help_subcommand(true);
    tree.build();
    pages(&tree, section, folder)
}

fn pages(command: &clap::Command, section: &str, folder: &Path) -> Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(below, section, folder)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let page = folder.join(format!("{name}.{section}"));
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).section(section).render(&mut text)?;
    fs::write(&page, text).with_context(|| page.display().to_string())
}
