"""What the world beside the tables learns of a run: metrics, assets, lineage, links and notices."""
