//! `history`: days of drill traffic as an archive, what making their rollups takes, and how long answers take.

fn main() -> anyhow::Result<()> {
    martlet_benches::history::main()
}
