from hneurons.cli import main

main()
